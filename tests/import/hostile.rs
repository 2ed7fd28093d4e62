//! Files made to do harm: each ends in a clear fault of a row or of the whole, and takes no more memory than any other.

use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};

use domain::import::Options;
use domain::import::encoding::{decoded, detect};
use domain::import::file::{FileLimits, MemberFile, survey};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadBuf};
use tokio::process::Command;

use super::world::World;

const HEADER: &str = "email,first_name,last_name,subscription_type";
const LIMITS: FileLimits = FileLimits { rows: 100_000, field_bytes: 4096 };
/// Set for the process whose memory is measured: which file it reads.
const WHICH: &str = "MUSTER_TEST_HOSTILE_FILE";

/// Some bytes again and again.
struct Again {
    bytes: &'static [u8],
    at: usize,
}

impl AsyncRead for Again {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while buffer.remaining() > 0 {
            let rest = &self.bytes[self.at..];
            let count = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..count]);
            self.at = (self.at + count) % self.bytes.len();
        }
        Poll::Ready(Ok(()))
    }
}

/// A file that begins in some way and goes on in another.
type Hostile = (&'static str, &'static str, &'static [u8]);

const FILES: [Hostile; 6] = [
    ("one line", "", b"x"),
    ("a quotation mark that never closes", "email,first_name,last_name,subscription_type\na@b.example,\"", b"x\n"),
    ("one row of cells", "email,first_name,last_name,subscription_type\n", b"x,"),
    ("zero bytes", "email,first_name,last_name,subscription_type\n", b"\0"),
    ("quotation marks", "email,first_name,last_name,subscription_type\n", b"\""),
    ("wide characters", "\u{feff}email", b"\x00\xd8"),
];

fn size() -> u64 {
    if std::env::var_os("MUSTER_TEST_FULL").is_some() { 1 << 30 } else { 64 << 20 }
}

fn file(which: usize) -> impl AsyncRead + Unpin {
    let (_, beginning, bytes) = FILES[which];
    beginning.as_bytes().chain(Again { bytes, at: 0 }.take(size()))
}

/// The most memory this process ever had, in kilobytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
#[ignore = "run by the test below, in a process of its own"]
#[expect(clippy::print_stdout, reason = "the other process reads it")]
async fn reads_a_hostile_file() {
    let Some(which) = std::env::var(WHICH).ok().and_then(|which| which.parse().ok()) else { return };
    let before = peak();
    let text = detect(file(which)).await.unwrap().unwrap();
    let surveyed = survey(decoded(file(which), text.encoding), LIMITS).await.map(|survey| survey.records);
    let mut faulty = 0;
    if let Ok(mut opened) = MemberFile::open(decoded(file(which), text.encoding), LIMITS).await {
        while let Ok(Some(record)) = opened.next().await {
            faulty += u32::from(!record.is_aligned());
        }
    }
    println!("grown {} survey {surveyed:?} faulty {faulty}", peak() - before);
}

#[tokio::test]
async fn endless_files_take_no_memory() {
    for (which, (name, ..)) in FILES.iter().enumerate() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "import::hostile::reads_a_hostile_file", "--ignored", "--nocapture"])
            .env(WHICH, which.to_string())
            .stderr(Stdio::inherit())
            .output()
            .await
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{name}: {said}");
        let grown = said.split_once("grown ").unwrap().1.split_whitespace().next().unwrap().parse::<u64>().unwrap();
        assert!(grown < 16 * 1024, "{name} takes {grown} KB");
    }
}

#[tokio::test]
async fn hostile_files_end_in_a_clear_fault() {
    let wide = format!("{HEADER},{}\n", vec!["x"; 10_000].join(","));
    let of_rows = |row: &str| format!("{HEADER}\nann@firm.example,Ann,Lee,Attorney\n{row}\n");
    let formula = "=cmd|' /C calc'!A0,@SUM(1),+1,-1".replace(',', ";");
    for (file, whole, rows) in [
        ("x".repeat(3_000_000), Some("MALFORMED_HEADER"), vec![]),
        (wide, Some("MALFORMED_HEADER"), vec![]),
        (of_rows(&format!("\"{}", "x\n".repeat(100_000))), None, vec![(3, vec!["MALFORMED_ROW"])]),
        (of_rows(&vec!["x"; 10_000].join(",")), None, vec![(3, vec!["TOO_LONG"])]),
        (of_rows("eve@firm.example,E\0ve,Ek,Attorney"), None, vec![(3, vec!["INVALID_CHARACTERS"])]),
        (of_rows(&format!("{formula},A,B,Attorney")), None, vec![(3, vec!["INVALID_EMAIL"])]),
    ] {
        let world = World::new(10).await;
        let import = world.import(file.as_bytes(), Options::default()).await;
        let read = world.read(import).await;
        assert_eq!(read.error_code.as_deref(), whole, "{file:.80}");
        assert_eq!(world.rejected(import).await, rows, "{file:.80}");
        assert_eq!(read.rows_invited, i32::from(whole.is_none()), "the good row stays");
        world.end().await;
    }
}
