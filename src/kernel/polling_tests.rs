use super::*;
use std::cell::RefCell;

thread_local! {
    /// The instances of an imagined NIC, and those whose settings are changed.
    static NIC: RefCell<(Vec<u32>, Vec<u32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

struct Imagined(u32);

impl Hold for Imagined {
    fn of(id: u32) -> Result<Imagined, Obstacle> {
        NIC.with_borrow_mut(|(there, held)| {
            if !there.contains(&id) {
                return Err(Obstacle::Kernel);
            }
            held.push(id);
            Ok(Imagined(id))
        })
    }

    fn id(&self) -> u32 {
        self.0
    }

    fn is_there(&self) -> bool {
        NIC.with_borrow(|(there, _)| there.contains(&self.0))
    }
}

impl Drop for Imagined {
    fn drop(&mut self) {
        NIC.with_borrow_mut(|(_, held)| held.retain(|id| *id != self.0));
    }
}

fn on_a_nic_with(instances: &[u32]) -> Polling<Imagined> {
    NIC.set((instances.to_vec(), Vec::new()));
    Polling::new(Ok(()))
}

fn held() -> Vec<u32> {
    NIC.with_borrow(|(_, held)| held.clone())
}

#[test]
fn it_is_on_while_all_connections_are_of_one_instance() {
    /// `Open(id)` accepts a connection, `Close(n)` ends that of step n.
    enum Step {
        Open(u32),
        Close(usize),
    }
    use Step::{Close, Open};
    for (name, steps) in [
        ("one queue", &[(Open(9), true), (Open(9), true), (Close(0), true)][..]),
        ("loopback first", &[(Open(0), false), (Open(9), false), (Close(0), true)]),
        ("loopback later", &[(Open(9), true), (Open(0), false), (Close(1), true)]),
        ("two queues", &[(Open(9), true), (Open(8), false), (Open(8), false), (Close(1), false)]),
        ("two, then one", &[(Open(9), true), (Open(8), false), (Close(1), true)]),
        ("its own end", &[(Open(9), true), (Close(0), true)]),
    ] {
        let mut polling = on_a_nic_with(&[8, 9]);
        let mut foreign = Vec::new();
        for (n, (step, is_on)) in steps.iter().enumerate() {
            match step {
                Open(id) => foreign.push(polling.accepted(*id)),
                Close(which) => {
                    polling.closed(foreign[*which]);
                    foreign.push(false);
                }
            }
            assert_eq!(polling.is_on(), *is_on, "{name}, step {n}");
        }
    }
}

#[test]
fn an_instance_that_the_driver_has_replaced_is_followed() {
    let mut polling = on_a_nic_with(&[9]);
    assert!(!polling.accepted(9));
    NIC.with_borrow_mut(|(there, _)| *there = vec![10]);
    assert!(!polling.accepted(10));
    assert!(polling.is_on());
    assert_eq!(held(), [10], "the settings of the old one are restored");
    drop(polling);
    assert!(held().is_empty());
}

#[test]
fn another_instance_is_asked_about_once() {
    let mut polling = on_a_nic_with(&[8, 9]);
    polling.accepted(9);
    assert!(polling.accepted(8));
    // Had it been asked about again, it would be followed.
    NIC.with_borrow_mut(|(there, _)| *there = vec![8]);
    assert!(polling.accepted(8));
    assert_eq!(held(), [9]);
}

#[test]
fn what_cannot_be_is_given_up_for_good() {
    let mut polling = on_a_nic_with(&[]);
    polling.accepted(9);
    assert!(polling.is_off() && !polling.is_on());
    NIC.with_borrow_mut(|(there, _)| *there = vec![9]);
    polling.accepted(9);
    assert!(polling.is_off());
    let error = io::Error::from_raw_os_error(libc::ENOTTY);
    assert!(Polling::<Imagined>::new(Err(error)).is_off());
}
