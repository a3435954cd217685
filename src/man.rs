//! The man pages, made of the command line itself.
//!
//! Owns their sections and what roff(7) would take for a command. Must not know what the options mean. Trade-off: clap's
//! generator writes the options, and its other sections are left out where man(7) has a better place for what they say.

use std::io;

use anyhow::Result;
use clap::Command;

use crate::cli::{self, UsageError};
use crate::exit::Status;
use crate::output::Output;

/// The whole command line, but for what clap adds by itself: the help has neither a page nor hints.
pub fn whole() -> Command {
    cli::command().mut_subcommand("help", |help| help.hide(true))
}

/// Prints the man page of the program, or of one command.
pub fn print(name: Option<&str>, output: Output) -> Result<Status> {
    let page = man(name)?;
    output.print(page.trim_end())?;
    Ok(Status::Done)
}

fn man(name: Option<&str>) -> Result<String> {
    let command = whole();
    let Some(name) = name else { return Ok(page(&command)?) };
    let known = || command.get_subcommands().filter(|known| !known.is_hide_set());
    if let Some(command) = known().find(|known| known.get_name_and_visible_aliases().contains(&name)) {
        return Ok(page(command)?);
    }
    let names: Vec<&str> = known().map(Command::get_name).collect();
    Err(UsageError(format!("no page for \"{name}\": the commands are {}", names.join(", "))).into())
}

/// clap's sections in man's order, with the usage for a synopsis instead of every option, and with what clap would put
/// under "EXTRA" where man(7) has it.
fn page(command: &Command) -> io::Result<String> {
    let source = concat!("sockkit ", env!("CARGO_PKG_VERSION"));
    let generator = clap_mangen::Man::new(command.clone()).source(source);
    let mut page = Vec::new();
    generator.render_title(&mut page)?;
    generator.render_name_section(&mut page)?;
    let usage = command.clone().render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage);
    page.extend(format!(".SH SYNOPSIS\n{}\n", for_roff(usage)).bytes());
    generator.render_description_section(&mut page)?;
    let help = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string).unwrap_or_default();
    let (sections, prose): (Vec<&str>, Vec<&str>) = help.split("\n\n").partition(|block| block.contains("\n  "));
    for paragraph in prose {
        page.extend(format!(".PP\n{}\n", for_roff(paragraph)).bytes());
    }
    generator.render_options_section(&mut page)?;
    if command.get_subcommands().next().is_some() {
        generator.render_subcommands_section(&mut page)?;
    }
    for section in sections {
        page.extend(man_section(section).bytes());
    }
    Ok(String::from_utf8_lossy(&page).into_owned())
}

/// `Exit status:` and what follows, as a section: indented lines stay as they are, others are filled.
fn man_section(block: &str) -> String {
    let (first, rest) = block.split_once('\n').unwrap_or((block, ""));
    let (title, remark) = first.split_at(first.find([':', ',']).unwrap_or(first.len()));
    let mut lines = vec![format!(".SH {}", title.to_uppercase())];
    if remark.len() > 1 {
        lines.push(for_roff(first));
    }
    let mut is_filled = true;
    for line in rest.lines() {
        if is_filled == line.starts_with(' ') {
            lines.push((if is_filled { ".nf" } else { ".fi" }).to_owned());
            is_filled = !is_filled;
        }
        lines.push(for_roff(line));
    }
    if !is_filled {
        lines.push(".fi".to_owned());
    }
    lines.join("\n") + "\n"
}

/// Text as roff(7) prints it: nothing in it is a command, and hyphens can be copied as options.
fn for_roff(text: &str) -> String {
    let plain = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    let lines: Vec<String> =
        plain.lines().map(|line| if line.starts_with('.') { format!("\\&{line}") } else { line.to_owned() }).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_a_roff_command() {
        assert_eq!(for_roff(".TH a-b\nit's \\n"), "\\&.TH a\\-b\nit\\(aqs \\en");
    }

    #[test]
    fn a_block_of_help_becomes_a_section() {
        assert_eq!(
            man_section("Exit status, in short:\n  0  done\n  1  not\nNo more."),
            ".SH EXIT STATUS\nExit status, in short:\n.nf\n  0  done\n  1  not\n.fi\nNo more.\n"
        );
        assert_eq!(man_section("Examples:\n  a"), ".SH EXAMPLES\n.nf\n  a\n.fi\n");
    }
}
