//! How many connections callers have open: in all, and for each of their addresses.
//!
//! The table has no more entries than there are connections, and one is gone with its last connection. A caller with a
//! network of IPv6 addresses has as many of them as it likes, so those are counted by their /64.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, PoisonError};

use crate::observe::metrics;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::Mutex;

/// The open connections.
#[derive(Default)]
pub struct Crowd {
    all: AtomicU32,
    by_address: Mutex<HashMap<IpAddr, u32>>,
}

/// The place of one connection; given back on drop.
pub struct Place {
    crowd: Arc<Crowd>,
    address: Option<IpAddr>,
    _counted: metrics::Counted,
}

impl Crowd {
    /// A place among at most `most`; none if all are taken.
    pub fn enter(self: &Arc<Self>, most: Option<u32>) -> Option<Place> {
        let most = most.unwrap_or(u32::MAX);
        let more = |all: u32| (all < most).then_some(all + 1);
        self.all.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Place { crowd: self.clone(), address: None, _counted: metrics::connection() })
    }
}

impl Place {
    /// Counts the connection for `address`; false if that one has `most` already.
    pub fn belongs(&mut self, address: IpAddr, most: Option<u32>) -> bool {
        let address = network(address);
        let mut by_address = self.crowd.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_address.entry(address).or_default();
        let fits = most.is_none_or(|most| *count < most);
        if fits {
            *count += 1;
            self.address = Some(address);
        }
        fits
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.all.fetch_sub(1, Ordering::AcqRel);
        let Some(address) = self.address else { return };
        let mut by_address = self.crowd.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&address);
            }
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::threads::{in_many_orders, together};

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let crowd = Arc::<Crowd>::default();
        let first = crowd.enter(Some(1)).unwrap();
        assert!(crowd.enter(Some(1)).is_none());
        drop(first);
        assert!(crowd.enter(Some(1)).is_some());
    }

    #[test]
    fn one_address_cannot_take_the_places_of_others() {
        let crowd = Arc::<Crowd>::default();
        let from = |address: &str| {
            let mut place = crowd.enter(None).unwrap();
            place.belongs(address.parse().unwrap(), Some(1)).then_some(place)
        };
        let first = from("192.0.2.1").unwrap();
        assert!(from("192.0.2.1").is_none() && from("::ffff:192.0.2.1").is_none());
        assert!(from("192.0.2.2").is_some());
        drop(first);
        assert!(from("192.0.2.1").is_some());
        let _sixth = from("2001:db8::1").unwrap();
        assert!(from("2001:db8::2").is_none() && from("2001:db8:0:1::1").is_some());
        drop(_sixth);
        assert!(crowd.by_address.lock().unwrap().is_empty());
        assert_eq!(crowd.all.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn threads_never_have_more_places_than_there_are_and_leave_an_empty_table() {
        in_many_orders(|| {
            let (crowd, inside) = (Arc::<Crowd>::default(), Arc::new(AtomicU32::new(0)));
            let shared = crowd.clone();
            together(3, move |thread| {
                for turn in 0..3 {
                    let Some(mut place) = shared.enter(Some(2)) else { continue };
                    assert!(inside.fetch_add(1, Ordering::SeqCst) < 2);
                    let address = IpAddr::from([192, 0, 2, u8::try_from(thread + turn).unwrap() % 2]);
                    place.belongs(address, Some(1));
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            });
            assert!(crowd.by_address.lock().unwrap().is_empty());
            assert_eq!(crowd.all.load(Ordering::SeqCst), 0);
        });
    }
}
