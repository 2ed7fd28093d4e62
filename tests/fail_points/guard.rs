//! Every boundary has a fail point, and every fail point a test.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};

/// The sources of all crates but the tests, one after the other.
fn program() -> Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a workspace")?;
    let mut text = String::new();
    for part in ["domain", "api", "worker", "cli"] {
        sources(&root.join(part).join("src"), &mut text)?;
    }
    Ok(text)
}

/// All sources of a crate.
fn sources(folder: &Path, found: &mut String) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push_str(&std::fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

#[test]
fn every_fail_point_has_a_test() -> Result<()> {
    let text = program()?;
    let declared: Vec<&str> = text.split("fail_point!(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(declared.len() >= 20, "{declared:?}");
    let distinct: BTreeSet<&str> = declared.iter().copied().collect();
    assert_eq!(distinct.len(), declared.len(), "a name is that of one place: {declared:?}");
    let tests = concat!(include_str!("../fail_points.rs"), include_str!("../billing/kills.rs"));
    let untested: Vec<_> = declared
        .iter()
        .filter(|name| !tests.contains(&format!("\"{name}\"")) && !tests.contains(&format!("\"{name}=")))
        .collect();
    assert!(untested.is_empty(), "no test stops at {untested:?}");
    Ok(())
}

/// [`domain::change::Change`] has its own around its commit; whoever commits otherwise has one too.
#[test]
fn every_commit_has_a_fail_point() -> Result<()> {
    let text = program()?;
    let lines: Vec<&str> = text.lines().collect();
    let commits = |line: &str| line.contains(".commit()") && !line.trim_start().starts_with("change.commit()");
    let places: Vec<usize> = (0..lines.len()).filter(|number| commits(lines[*number])).collect();
    assert!(places.len() >= 2, "the walk has lost its way");
    for place in places {
        let near = &lines[place.saturating_sub(3)..place];
        assert!(
            near.iter().any(|line| line.contains("fail_point!(")),
            "no fail point before {:?}",
            &lines[place - 3..=place]
        );
    }
    Ok(())
}
