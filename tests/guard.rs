//! Servers of a test's own end with it, also those that are frozen.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::guard::Guard;
use crate::support::server::{family, signal};

/// A process with a child, frozen. Reading a pipe that nobody writes to, they never end by themselves.
fn frozen() -> (Child, Vec<u32>) {
    let mut parent = Command::new("sh");
    let parent = parent.args(["-c", "cat; true"]).stdin(Stdio::piped()).spawn().unwrap();
    while family(parent.id()).len() < 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let family = family(parent.id());
    signal("STOP", &family).unwrap();
    (parent, family)
}

#[test]
fn what_is_frozen_ends_with_its_guard() {
    let (mut parent, family) = frozen();
    drop(Guard::over(parent.id()).unwrap());
    assert_eq!(parent.wait().unwrap().signal(), Some(9));
    while Path::new(&format!("/proc/{}/exe", family[1])).exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn who_is_dismissed_ends_nobody() {
    let (mut parent, family) = frozen();
    Guard::over(parent.id()).unwrap().dismiss();
    assert_eq!(parent.try_wait().unwrap(), None);
    signal("KILL", &family).unwrap();
    parent.wait().unwrap();
}
