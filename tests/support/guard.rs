//! Servers end with the test that started them, also when the test is killed and also when they are frozen.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

/// Waits for a line or for the end of whoever could write it; then there is nobody left to end the process and its children.
const WATCH: &str = "read -r line || kill -KILL $(cat /proc/$1/task/$1/children) $1";

/// Kills a process and its children with this value, or with the process that holds it. SIGKILL also ends what is frozen.
pub(crate) struct Guard(Child);

impl Guard {
    /// Over a process of ours.
    pub(crate) fn over(pid: u32) -> io::Result<Self> {
        let mut watch = Command::new("sh");
        // In a group of its own: whoever kills the test's group leaves it.
        watch.args(["-c", WATCH, "guard", &pid.to_string()]).process_group(0);
        watch.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map(Self)
    }

    /// The process has ended and was waited for: its number may be another's by now.
    pub(crate) fn dismiss(mut self) {
        if let Some(mut stdin) = self.0.stdin.take() {
            let _ = stdin.write_all(b"\n");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::path::Path;
    use std::time::Duration;

    use super::*;
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
}
