//! Sessions written down as they happen, and read back: lines of JSON, or packets for Wireshark and tcpdump.
//!
//! | file | owns |
//! |---|---|
//! | `event` | what can happen to a connection |
//! | `line` | an event as a line of JSON, and back |
//! | `reader` | a file of such lines as scripts, or what is wrong with it |
//! | `player` | one side of a script, played again |
//! | `recorder` | the queue in front of the file, and the thread that writes |
//! | `pcapng`, `packet` | the same events as packets for Wireshark and tcpdump |
//! | `file` | the file itself: for its owner only, and never overwritten unasked |
//!
//! It must not know who connects, serves or prints. Trade-off: what is written is one line for each run of bytes, so a
//! record is larger than its data; for that it is whole up to its last line whatever happens to the program, and can be
//! read, compared and written by hand.
//!
//! # The lines
//!
//! The first says what it is; the others are events, each with the seconds since the start and its connection's number.
//! `rx` is what the program that recorded it received, `tx` what it sent.
//!
//! ```json
//! {"sockkit":1,"start":"2026-11-23T00:07:53.120417Z","cmd":["serve","-p","65432"]}
//! {"t":0.010204112,"conn":1,"ev":"open","transport":"tcp","peer":"127.0.0.1:50001","local":"127.0.0.1:65432"}
//! {"t":0.010911733,"conn":1,"ev":"rx","off":0,"txt":"hello\n"}
//! {"t":0.011002318,"conn":1,"ev":"tx","off":0,"b64":"AAECAw=="}
//! {"t":0.060100001,"conn":1,"ev":"fault","rule":0,"what":"reset","at":4}
//! {"t":0.060188052,"conn":1,"ev":"fin","dir":"rx","off":6}
//! {"t":0.060190774,"conn":1,"ev":"close","how":"rst","rx":6,"tx":4}
//! {"t":1.200355102,"ev":"end","conns":1,"complete":true}
//! ```
//!
//! Where data was cut, `len` is the length it had and `cut` the SHA-256 of what is missing. A line of datagrams is one
//! datagram. Without an `end` the record was cut short.

mod event;
mod file;
mod line;
mod packet;
mod pcapng;
mod player;
mod reader;
mod recorder;

pub use event::{Direction, Ending, Event, Header, What};
pub use file::create;
pub use player::{Manner, Matching, Mismatch, Pace, Player, Turn};
pub use reader::{Action, Cut, Record, Script, Step, Unreadable};
pub use recorder::{Form, Recorder, Track};
