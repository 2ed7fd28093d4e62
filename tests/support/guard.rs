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
