//! Files that were damaged at random, through everything that reads them: whatever the bytes are, it ends, in bounded memory, with rows or
//! with a clear fault, and what is wrong can be written back.

use proptest::prelude::*;

use super::duplicates::SeenAddresses;
use super::encoding::{decoded, detect};
use super::file::{FileLimits, MemberFile, ReadError, survey};
use super::report::ErrorReport;
use super::row::check_row;
use crate::infra::personal_domain::DomainPolicy;

const LIMITS: FileLimits = FileLimits { rows: 500, field_bytes: 1024 };
/// Bytes of a record that the reader keeps at most.
const RECORD_BYTES: usize = 256 * 1024;
const FILES: [&[u8]; 3] = [
    include_bytes!("../../../tests/fixtures/members.csv"),
    include_bytes!("../../../tests/fixtures/members-spreadsheet.csv"),
    include_bytes!("../../../tests/fixtures/members-faulty.csv"),
];

/// One way to damage a file; places are taken modulo its length.
#[derive(Clone, Debug)]
enum Damage {
    Set(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Repeat(usize, usize, usize),
    Cut(usize),
}

fn bytes_that_mean_something() -> impl Strategy<Value = Vec<u8>> {
    let tokens: [&[u8]; 14] = [
        b"\"",
        b"\"\"",
        b"\r",
        b"\n",
        b"\r\n",
        b",",
        b";",
        b"\t",
        b"\0",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"'=",
        b"|",
        b"\xe2\x80",
    ];
    prop_oneof![
        prop::sample::select(tokens.to_vec()).prop_map(<[u8]>::to_vec),
        prop::collection::vec(any::<u8>(), 1..12)
    ]
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<usize>();
    prop_oneof![
        (place, any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (place, bytes_that_mean_something()).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (place, 1..300_usize).prop_map(|(at, count)| Damage::Remove(at, count)),
        (place, 1..300_usize, 1..200_usize).prop_map(|(at, count, times)| Damage::Repeat(at, count, times)),
        place.prop_map(Damage::Cut),
    ]
}

fn damaged(mut file: Vec<u8>, all: &[Damage]) -> Vec<u8> {
    for one in all {
        let length = file.len().max(1);
        match one {
            Damage::Set(at, byte) => {
                if let Some(place) = file.get_mut(at % length) {
                    *place = *byte;
                }
            }
            Damage::Insert(at, bytes) => {
                let at = at % length.min(file.len() + 1);
                file.splice(at..at, bytes.iter().copied());
            }
            Damage::Remove(at, count) => {
                let at = (at % length).min(file.len());
                file.drain(at..(at + count).min(file.len()));
            }
            Damage::Repeat(at, count, times) => {
                let at = (at % length).min(file.len());
                let part = file[at..(at + count).min(file.len())].repeat(*times);
                file.splice(at..at, part);
            }
            Damage::Cut(at) => file.truncate(at % length),
        }
    }
    file
}

/// Reads a file as an import does; answers how many records it has, if it can be read.
async fn read(bytes: &[u8]) -> Option<u32> {
    let text = detect(bytes).await.expect("memory can be read")?;
    let surveyed = survey(decoded(bytes, text.encoding), LIMITS).await;
    let opened = MemberFile::open(decoded(bytes, text.encoding), LIMITS).await;
    let mut file = match opened {
        Ok(file) => file,
        Err(ReadError::File(..)) => {
            assert!(surveyed.is_err(), "the look found no fault");
            return None;
        }
        Err(ReadError::Io(error)) => panic!("{error}"),
    };
    let policy = DomainPolicy::new(true, &[], &[]).expect("nothing to be wrong");
    let (mut seen, mut records, header) = (SeenAddresses::default(), 0, std::sync::Arc::clone(file.header()));
    let report = ErrorReport::new(&header);
    loop {
        match file.next().await {
            Ok(Some(record)) => {
                records += 1;
                let kept: usize = record.cells.iter().map(String::len).sum();
                assert!(kept <= RECORD_BYTES, "{kept} bytes of a record");
                if let Err(faults) = check_row(&record, &policy, &mut seen) {
                    assert!(!report.row(&record, &faults).is_empty());
                }
            }
            Ok(None) => {
                assert_eq!(surveyed.expect("it can be read").records, records);
                return Some(records);
            }
            Err(ReadError::File(..)) => {
                assert!(surveyed.is_err(), "the look found no fault");
                return None;
            }
            Err(ReadError::Io(error)) => panic!("{error}"),
        }
    }
}

fn cases() -> u32 {
    if std::env::var_os("MUSTER_TEST_FULL").is_some() { 200_000 } else { 1_000 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn whatever_the_bytes_are_reading_them_ends(
        of in prop::sample::select(FILES.to_vec()),
        wide in any::<bool>(),
        all in prop::collection::vec(damage(), 0..30),
    ) {
        let file = match std::str::from_utf8(of) {
            Ok(text) if wide => format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_le_bytes).collect(),
            _ => of.to_vec(),
        };
        let untouched = all.is_empty();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let read = runtime.block_on(read(&damaged(file, &all)));
        prop_assert!(!untouched || read.is_some_and(|records| records >= 40));
    }
}
