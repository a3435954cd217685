//! A network as people write it: `192.0.2.0/24`, `2001:db8::/32`.
//!
//! Owns its grammar, which addresses are in it, and their order. Must not know what it is for: probing every address, or
//! letting some in. Trade-off: an address with bits of a host is refused and not rounded, because it is as often a slip in
//! the length as in the address.

use std::cmp::Reverse;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses from first to last, as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: u128,
    last: u128,
    is_v6: bool,
}

impl Network {
    /// Reads `ADDRESS/LENGTH`.
    pub fn parse(text: &str) -> Result<Network, String> {
        let unreadable = || format!("{text:?} is not a network: write ADDRESS/LENGTH, such as 192.0.2.0/24");
        let (address, length) = text.split_once('/').ok_or_else(unreadable)?;
        let address: IpAddr = address.parse().map_err(|_| unreadable())?;
        let (number, bits) = number(address);
        let length: u32 = length.parse().map_err(|_| unreadable())?;
        if length > bits {
            return Err(format!("the length of {text:?} is out of range: 0 to {bits}"));
        }
        let host_bits = if length == 0 { u128::MAX >> (128 - bits) } else { (1 << (bits - length)) - 1 };
        let network = Network { first: number & !host_bits, last: number | host_bits, is_v6: bits == 128 };
        if network.first != number {
            let first = network.at(0).unwrap_or(address);
            return Err(format!("{text:?} has bits of a host: write {first}/{length}, or {address} alone"));
        }
        Ok(network)
    }

    /// Reads `ADDRESS/LENGTH`, or one address alone.
    pub fn parse_or_address(text: &str) -> Result<Network, String> {
        let alone = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        match alone.parse::<IpAddr>() {
            Ok(address) => Ok(Network::of(address)),
            Err(_) if text.contains('/') => Network::parse(text),
            Err(_) => {
                Err(format!("{text:?} is no address and no network: write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32"))
            }
        }
    }

    /// The network that holds one address.
    fn of(address: IpAddr) -> Network {
        let (number, bits) = number(address);
        Network { first: number, last: number, is_v6: bits == 128 }
    }

    /// The address at an offset.
    pub fn at(&self, offset: u64) -> Option<IpAddr> {
        let number = self.first.checked_add(u128::from(offset)).filter(|number| *number <= self.last)?;
        let v4 = || IpAddr::V4(Ipv4Addr::from_bits(number as u32));
        Some(if self.is_v6 { IpAddr::V6(Ipv6Addr::from_bits(number)) } else { v4() })
    }

    /// How many addresses there are; more than 64 bits can count are as many as they can.
    pub fn count(&self) -> u64 {
        u64::try_from(self.last - self.first).map_or(u64::MAX, |more| more.saturating_add(1))
    }

    /// Whether the address is in it.
    pub fn has(&self, address: IpAddr) -> bool {
        let (number, bits) = number(address);
        (bits == 128) == self.is_v6 && (self.first..=self.last).contains(&number)
    }

    /// Whether a peer with this address is in it: one that came over IPv4 to a socket of both families (`::ffff:192.0.2.7`,
    /// RFC 4291 section 2.5.5.2) is compared as what it is.
    pub fn has_peer(&self, address: IpAddr) -> bool {
        self.has(address.to_canonical()) || self.has(address)
    }
}

/// Several networks, to be asked who is in any of them: as quick with a hundred thousand as with one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    /// Sorted, and apart from each other.
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

impl Networks {
    /// All of these.
    pub fn of(networks: impl IntoIterator<Item = Network>) -> Networks {
        let mut all = Networks::default();
        for network in networks {
            let spans = if network.is_v6 { &mut all.v6 } else { &mut all.v4 };
            spans.push((network.first, network.last));
        }
        for spans in [&mut all.v4, &mut all.v6] {
            // Of those that begin at one address the largest comes first, and is the one that stays.
            spans.sort_unstable_by_key(|(first, last)| (*first, Reverse(*last)));
            // One that begins inside of another is part of it, since networks never overlap by halves.
            spans.dedup_by(|inner, outer| inner.0 <= outer.1);
        }
        all
    }

    /// Whether a peer with this address is in one of them; IPv4 in IPv6's clothes is compared as IPv4, and as it came.
    pub fn has_peer(&self, address: IpAddr) -> bool {
        self.has(address.to_canonical()) || (address.is_ipv6() && self.has(address))
    }

    fn has(&self, address: IpAddr) -> bool {
        let (number, bits) = number(address);
        let spans = if bits == 128 { &self.v6 } else { &self.v4 };
        let after = spans.partition_point(|(first, _)| *first <= number);
        after > 0 && number <= spans[after - 1].1
    }
}

/// As it is written: `ADDRESS/LENGTH`.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = if self.is_v6 { 128 } else { 32 };
        let length = bits - (self.last - self.first).count_ones();
        match self.at(0) {
            Some(first) => write!(f, "{first}/{length}"),
            None => Err(fmt::Error),
        }
    }
}

/// An address as a number, and its length in bits.
fn number(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_peer_is_in_it_by_the_address_that_it_has() {
        for (network, address, expected) in [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.0/24", "::ffff:192.0.2.7", true),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            // Some write what the socket says.
            ("::ffff:0:0/96", "::ffff:192.0.2.7", true),
            ("::ffff:0:0/96", "2001:db8::1", false),
            ("::ffff:192.0.2.7", "::ffff:192.0.2.7", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("[2001:db8::1]", "2001:db8::1", true),
        ] {
            let network = Network::parse_or_address(network).unwrap();
            let address = address.parse().unwrap();
            assert_eq!(network.has_peer(address), expected, "{network}, {address}");
            assert_eq!(Networks::of([network]).has_peer(address), expected, "{network}, {address}");
        }
    }

    #[test]
    fn of_two_that_begin_together_the_larger_counts() {
        for pair in [["10.0.0.0/9", "10.0.0.0/8"], ["10.0.0.0/8", "10.0.0.0/9"]] {
            let many = Networks::of(pair.map(|network| Network::parse(network).unwrap()));
            assert!(many.has_peer(Ipv4Addr::new(10, 200, 0, 0).into()), "{pair:?}");
        }
    }

    #[test]
    fn what_is_neither_address_nor_network_is_refused_with_a_way_out() {
        for (text, expected) in [
            ("", "\"\" is no address and no network: write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32"),
            ("db", "\"db\" is no address and no network: write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32"),
            ("db/24", "\"db/24\" is not a network: write ADDRESS/LENGTH, such as 192.0.2.0/24"),
            ("192.0.2.1/24", "\"192.0.2.1/24\" has bits of a host: write 192.0.2.0/24, or 192.0.2.1 alone"),
            ("192.0.2.0/33", "the length of \"192.0.2.0/33\" is out of range: 0 to 32"),
        ] {
            assert_eq!(Network::parse_or_address(text), Err(expected.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(number in any::<u32>(), length in 0_u32..=32) {
            let first = u64::from(number) >> (32 - length) << (32 - length);
            let network = Network::parse(&format!("{}/{length}", Ipv4Addr::from_bits(first as u32))).unwrap();
            prop_assert_eq!(Network::parse(&network.to_string()), Ok(network));
            prop_assert_eq!(network.count(), 1 << (32 - length));
            prop_assert!(network.has(Ipv4Addr::from_bits(number).into()));
        }

        #[test]
        fn many_hold_whom_one_of_them_holds(all in prop::collection::vec((any::<u32>(), 8_u32..=32), 0..20), address: u32) {
            let network = |(number, length): &(u32, u32)| {
                let first = u64::from(*number) >> (32 - length) << (32 - length);
                Network::parse(&format!("{}/{length}", Ipv4Addr::from_bits(first as u32))).unwrap()
            };
            let all: Vec<Network> = all.iter().map(network).collect();
            let many = Networks::of(all.clone());
            let inside = all.iter().filter_map(|network| network.at(network.count() / 2));
            for address in inside.chain([Ipv4Addr::from_bits(address).into()]) {
                prop_assert_eq!(many.has_peer(address), all.iter().any(|network| network.has_peer(address)));
            }
        }

        #[test]
        fn no_text_panics(text in "[0-9a-f:./\\[\\]]{0,24}") {
            let _ = Network::parse_or_address(&text);
        }
    }
}
