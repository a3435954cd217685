//! What an option can be set to: how it is typed, how a message shows it, how a trace does.
//!
//! Owns the value types of the socket options and their parsers. Must not know which option they are for. Trade-off: a
//! duration becomes whole units of the system's when it is parsed, rounded up, because the systems cut off the rest and
//! a 0 means something else to most options.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::connection::resolve::interface_number;
use crate::units;

/// A value of a socket option.
pub(super) trait Value {
    /// As a person types it.
    fn shown(&self) -> String;

    /// As strace shows the argument.
    fn traced(&self) -> String {
        format!("[{}]", self.shown())
    }
}

impl<T: Value> Value for &T {
    fn shown(&self) -> String {
        (*self).shown()
    }

    fn traced(&self) -> String {
        (*self).traced()
    }
}

impl Value for bool {
    fn shown(&self) -> String {
        if *self { "on" } else { "off" }.to_owned()
    }

    fn traced(&self) -> String {
        format!("[{}]", i32::from(*self))
    }
}

impl Value for u32 {
    fn shown(&self) -> String {
        self.to_string()
    }
}

/// Names, such as that of a congestion control.
impl Value for String {
    fn shown(&self) -> String {
        self.clone()
    }

    fn traced(&self) -> String {
        format!("{self:?}")
    }
}

/// What may be unset: then a person is shown nothing.
impl<T: Value> Value for Option<T> {
    fn shown(&self) -> String {
        self.as_ref().map_or(String::new(), Value::shown)
    }

    fn traced(&self) -> String {
        self.as_ref().map_or("[]".to_owned(), Value::traced)
    }
}

/// Reads a switch.
pub(super) fn parse_switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Ok(true),
        "off" | "false" | "no" | "0" => Ok(false),
        _ => Err(format!("{text:?} is neither on (true, yes, 1) nor off (false, no, 0)")),
    }
}

/// A duration in whole units of so many nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole<const UNIT_NS: u64>(pub u32);

/// What keepalive and linger count in.
pub type Seconds = Whole<1_000_000_000>;
/// What `TCP_USER_TIMEOUT` counts in.
pub type Milliseconds = Whole<1_000_000>;
/// What `SO_BUSY_POLL` counts in.
pub type Microseconds = Whole<1_000>;

impl<const UNIT_NS: u64> Whole<UNIT_NS> {
    /// Rounded up; none if it does not fit the kernel's int.
    pub(super) fn from_duration(duration: Duration) -> Option<Self> {
        let units = duration.as_nanos().div_ceil(u128::from(UNIT_NS));
        i32::try_from(units).ok().map(|units| Whole(units.unsigned_abs()))
    }

    /// Back to a duration.
    pub fn duration(self) -> Duration {
        Duration::from_nanos(u64::from(self.0) * UNIT_NS)
    }
}

impl<const UNIT_NS: u64> Value for Whole<UNIT_NS> {
    fn shown(&self) -> String {
        humantime::format_duration(self.duration()).to_string().replace(' ', "")
    }

    fn traced(&self) -> String {
        format!("[{}]", self.0)
    }
}

/// Reads a duration into whole units.
pub(super) fn parse_whole<const UNIT_NS: u64>(text: &str) -> Result<Whole<UNIT_NS>, String> {
    let duration = units::parse_duration(text)?;
    Whole::from_duration(duration).ok_or_else(|| {
        let most = humantime::format_duration(Whole::<UNIT_NS>(i32::MAX.unsigned_abs()).duration()).to_string();
        format!("{text:?} is more than this option can hold, {most}")
    })
}

/// Reads a size that fits the kernel's int.
pub(super) fn parse_buffer_size(text: &str) -> Result<u32, String> {
    match i32::try_from(units::parse_size(text)?) {
        Ok(bytes) => Ok(bytes.unsigned_abs()),
        Err(_) => Err(format!("{text:?} is more than a socket option can hold, {} bytes", i32::MAX)),
    }
}

/// `SO_LINGER`; none is the default: close(2) returns at once and the system sends what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Linger(pub(super) Option<Seconds>);

impl Value for Linger {
    fn shown(&self) -> String {
        self.0.map_or("off".to_owned(), |seconds| seconds.shown())
    }

    fn traced(&self) -> String {
        let seconds = self.0.map_or(0, |seconds| seconds.0);
        format!("{{l_onoff={}, l_linger={seconds}}}", u8::from(self.0.is_some()))
    }
}

/// The byte of the IP header that says how a packet wants to be treated: six bits of DSCP, two of ECN (RFC 2474, 3168).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tos(pub u8);

/// The names that RFC 2474, 2597, 3246 and 8622 give to code points, then those of RFC 1349, all as the whole byte.
const TOS_NAMES: &[(&str, u8)] = &[
    ("cs0", 0x00),
    ("cs1", 0x20),
    ("cs2", 0x40),
    ("cs3", 0x60),
    ("cs4", 0x80),
    ("cs5", 0xa0),
    ("cs6", 0xc0),
    ("cs7", 0xe0),
    ("af11", 0x28),
    ("af12", 0x30),
    ("af13", 0x38),
    ("af21", 0x48),
    ("af22", 0x50),
    ("af23", 0x58),
    ("af31", 0x68),
    ("af32", 0x70),
    ("af33", 0x78),
    ("af41", 0x88),
    ("af42", 0x90),
    ("af43", 0x98),
    ("ef", 0xb8),
    ("le", 0x04),
    ("lowdelay", 0x10),
    ("throughput", 0x08),
    ("reliability", 0x04),
];

impl Value for Tos {
    fn shown(&self) -> String {
        format!("{:#04x}", self.0)
    }
}

/// Reads a TOS byte: a name, a decimal number or a hexadecimal one.
pub(super) fn parse_tos(text: &str) -> Result<Tos, String> {
    let lower = text.to_ascii_lowercase();
    if let Some((_, byte)) = TOS_NAMES.iter().find(|(name, _)| *name == lower) {
        return Ok(Tos(*byte));
    }
    let (digits, radix) = lower.strip_prefix("0x").map_or((lower.as_str(), 10), |digits| (digits, 16));
    // Rust's own parsers would also take a sign.
    let digits = if digits.starts_with('+') { "" } else { digits };
    let number = u8::from_str_radix(digits, radix);
    number.map(Tos).map_err(|_| {
        format!("{text:?} is neither 0 to 255 (or 0xb8) nor ef, le, cs0-7, af11-43, lowdelay, throughput, reliability")
    })
}

/// A network interface of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interface {
    /// As ip-link(8) or ifconfig(8) lists it.
    Name(String),
    /// Its number.
    Index(u32),
    /// One of its addresses.
    Address(Ipv4Addr),
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Interface::Name(name) => f.write_str(name),
            Interface::Index(index) => write!(f, "{index}"),
            Interface::Address(address) => write!(f, "{address}"),
        }
    }
}

impl Value for Interface {
    fn shown(&self) -> String {
        self.to_string()
    }

    fn traced(&self) -> String {
        match self {
            Interface::Name(name) => format!("{name:?}"),
            Interface::Index(_) | Interface::Address(_) => format!("[{self}]"),
        }
    }
}

impl Interface {
    /// Its number.
    pub(super) fn index(&self) -> io::Result<u32> {
        match self {
            Interface::Index(index) => Ok(*index),
            Interface::Name(name) => interface_number(name).ok_or_else(no_such_interface),
            // The caller has to ask first: an address says which interface to use only where an address is accepted.
            Interface::Address(_) => Err(no_such_interface()),
        }
    }
}

/// What `if_nametoindex(3)` says.
fn no_such_interface() -> io::Error {
    #[cfg(unix)]
    return io::Error::from_raw_os_error(libc::ENODEV);
    #[cfg(windows)]
    return io::Error::new(
        io::ErrorKind::NotFound,
        "no such interface; its number, as `netsh int ipv6 show int` lists it, works",
    );
}

/// Reads an interface: a number, an IPv4 address, or else a name.
pub(super) fn parse_interface(text: &str) -> Result<Interface, String> {
    if text.is_empty() {
        return Err("an interface has a name such as eth0, a number or an IPv4 address".to_owned());
    }
    if let Ok(index) = text.parse() {
        // To the system, 0 is no interface or any.
        return if index == 0 { Err("interfaces are numbered from 1".to_owned()) } else { Ok(Interface::Index(index)) };
    }
    Ok(text.parse().map_or_else(|_| Interface::Name(text.to_owned()), Interface::Address))
}

/// Reads an interface that can only be a device: a number or a name.
pub(super) fn parse_device(text: &str) -> Result<Interface, String> {
    match parse_interface(text)? {
        Interface::Address(_) => Err(format!("{text:?} is an address; a device has a name such as eth0, or a number")),
        device => Ok(device),
    }
}

/// A multicast group, and on which interface to join it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// 224.0.0.0/4 or `ff00::/8`.
    pub address: IpAddr,
    /// The system's choice if there is none.
    pub interface: Option<Interface>,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.interface {
            Some(interface) => write!(f, "{}@{interface}", self.address),
            None => write!(f, "{}", self.address),
        }
    }
}

/// Reads `GROUP[@INTERFACE]`.
pub(super) fn parse_group(text: &str) -> Result<Group, String> {
    let (group, interface) = match text.split_once('@') {
        Some((group, interface)) => (group, Some(parse_interface(interface)?)),
        None => (text, None),
    };
    let address: IpAddr = group.parse().map_err(|_| format!("{group:?} is not an IP address"))?;
    if !address.is_multicast() {
        return Err(format!("{group} is not a multicast group: those are 224.0.0.0 to 239.255.255.255 and ff00::/8"));
    }
    if address.is_ipv6() && matches!(interface, Some(Interface::Address(_))) {
        return Err(format!("{text:?}: the interface of an IPv6 group is a name or a number"));
    }
    Ok(Group { address, interface })
}

/// A group of IPv4 to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JoinV4 {
    pub(super) group: Ipv4Addr,
    pub(super) interface: Option<Interface>,
}

impl Value for JoinV4 {
    fn shown(&self) -> String {
        Group { address: IpAddr::V4(self.group), interface: self.interface.clone() }.to_string()
    }

    fn traced(&self) -> String {
        let interface = self.interface.as_ref().map_or("0.0.0.0".to_owned(), ToString::to_string);
        format!("{{imr_multiaddr={}, imr_interface={interface}}}", self.group)
    }
}

/// A group of IPv6 to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JoinV6 {
    pub(super) group: Ipv6Addr,
    pub(super) interface: Option<Interface>,
}

impl Value for JoinV6 {
    fn shown(&self) -> String {
        Group { address: IpAddr::V6(self.group), interface: self.interface.clone() }.to_string()
    }

    fn traced(&self) -> String {
        let interface = self.interface.as_ref().map_or("0".to_owned(), ToString::to_string);
        format!("{{ipv6mr_multiaddr={}, ipv6mr_interface={interface}}}", self.group)
    }
}

/// A group to join for the datagrams of one sender only (RFC 3376, RFC 3810).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JoinOfOne {
    pub(super) group: Group,
    pub(super) source: IpAddr,
}

impl JoinOfOne {
    /// Whether no sender of that address can send to that group.
    pub(super) fn is_mixed(&self) -> bool {
        self.group.address.is_ipv6() != self.source.is_ipv6()
    }

    /// Whether every system's call for groups of IPv4 takes it: that knows no interface but by its address.
    pub(super) fn is_by_address(&self) -> bool {
        self.group.address.is_ipv4() && matches!(self.group.interface, None | Some(Interface::Address(_)))
    }
}

impl Value for JoinOfOne {
    fn shown(&self) -> String {
        format!("{} from {}", self.group, self.source)
    }

    fn traced(&self) -> String {
        let Group { address, interface } = &self.group;
        let interface = |none: &str| interface.as_ref().map_or(none.to_owned(), ToString::to_string);
        if self.is_by_address() {
            let interface = interface("0.0.0.0");
            return format!("{{imr_multiaddr={address}, imr_interface={interface}, imr_sourceaddr={}}}", self.source);
        }
        format!("{{gsr_interface={}, gsr_group={address}, gsr_source={}}}", interface("0"), self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_is_on_or_off_in_many_words() {
        for (text, expected) in
            [("on", true), ("TRUE", true), ("yes", true), ("1", true), ("off", false), ("false", false)]
        {
            assert_eq!(parse_switch(text), Ok(expected));
        }
        assert_eq!(parse_switch("maybe").unwrap_err(), "\"maybe\" is neither on (true, yes, 1) nor off (false, no, 0)");
    }

    #[test]
    fn durations_are_rounded_up_to_whole_units() {
        let rows = [("0", 0), ("1", 1), ("1ns", 1), ("999ms", 1), ("1001ms", 2), ("1m30s", 90)];
        for (text, expected) in rows {
            assert_eq!(parse_whole::<1_000_000_000>(text), Ok(Whole(expected)), "{text}");
        }
        assert_eq!(parse_whole::<1_000>("1.5us"), parse_whole::<1_000>("1500ns"));
        let most = parse_whole::<1_000>("1h").unwrap_err();
        assert_eq!(most, "\"1h\" is more than this option can hold, 35m 47s 483ms 647us");
    }

    #[test]
    fn a_type_of_service_is_a_name_or_the_whole_byte() {
        let rows =
            [("ef", 0xb8), ("EF", 0xb8), ("cs0", 0), ("cs7", 0xe0), ("af43", 0x98), ("le", 4), ("lowdelay", 0x10)];
        let numbers = [("0", 0), ("255", 255), ("0xb8", 0xb8), ("184", 0xb8)];
        for (text, expected) in rows.into_iter().chain(numbers) {
            assert_eq!(parse_tos(text), Ok(Tos(expected)), "{text}");
        }
        for text in ["256", "-1", "0x100", "af44", "", "0x", "+1"] {
            assert!(parse_tos(text).is_err_and(|error| error.starts_with(&format!("{text:?} is neither"))), "{text}");
        }
    }

    #[test]
    fn code_points_follow_their_rfcs() {
        for (name, byte) in TOS_NAMES {
            let digits: Vec<u8> = name.bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect();
            match digits[..] {
                // RFC 2474: a class selector is its class in the upper three bits.
                [class] => assert_eq!(*byte, class << 5, "{name}"),
                // RFC 2597: class in the upper three bits, drop precedence in the next two.
                [class, precedence] => assert_eq!(*byte, class << 5 | precedence << 3, "{name}"),
                _ => {}
            }
        }
    }

    #[test]
    fn a_size_fits_the_kernels_int() {
        assert_eq!(parse_buffer_size("64Ki"), Ok(65536));
        assert_eq!(parse_buffer_size("2147483647"), Ok(2_147_483_647));
        let error = parse_buffer_size("2Gi").unwrap_err();
        assert_eq!(error, "\"2Gi\" is more than a socket option can hold, 2147483647 bytes");
    }

    #[test]
    fn a_group_may_say_its_interface() {
        for text in ["239.1.2.3", "239.1.2.3@eth0", "239.1.2.3@2", "239.1.2.3@192.0.2.1", "ff15::1", "ff15::1@eth0.7"] {
            assert_eq!(parse_group(text).map(|group| group.to_string()).as_deref(), Ok(text));
        }
        for text in ["192.0.2.1", "fe80::1", "group", "", "@lo", "239.1.2.3@", "ff15::1@127.0.0.1"] {
            assert!(parse_group(text).is_err(), "{text}");
        }
        assert_eq!(parse_interface("7"), Ok(Interface::Index(7)));
        assert_eq!(parse_device("eth0"), Ok(Interface::Name("eth0".to_owned())));
        assert!(parse_device("127.0.0.1").is_err() && parse_device("0").is_err() && parse_device("").is_err());
    }

    #[test]
    fn a_trace_shows_what_strace_would() {
        assert_eq!(true.traced(), "[1]");
        assert_eq!(Whole::<1_000_000>(1500).traced(), "[1500]");
        assert_eq!(Linger(Some(Whole(0))).traced(), "{l_onoff=1, l_linger=0}");
        assert_eq!(Linger(None).traced(), "{l_onoff=0, l_linger=0}");
        assert_eq!("cubic".to_owned().traced(), "\"cubic\"");
        let join = JoinV4 { group: Ipv4Addr::new(239, 1, 2, 3), interface: None };
        assert_eq!(join.traced(), "{imr_multiaddr=239.1.2.3, imr_interface=0.0.0.0}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn an_interface_has_a_number() {
        let index = |text| parse_interface(text).unwrap().index();
        let listed = std::fs::read_to_string("/sys/class/net/lo/ifindex").unwrap();
        assert_eq!(index("lo").unwrap().to_string(), listed.trim());
        assert_eq!(index("12").unwrap(), 12);
        for text in ["nosuch0", "lo%lo", "a name", "\u{0}", "localhost"] {
            assert_eq!(index(text).unwrap_err().raw_os_error(), Some(libc::ENODEV), "{text:?}");
        }
    }
}
