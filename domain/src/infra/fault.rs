//! Points at which a test stops a process: one at each boundary between two things that a crash may part, like a commit and the
//! wake-up after it. They exist only with the cargo feature `failpoints`, which `./dev` builds with and a release is built
//! without.
//!
//! The variable `FAILPOINTS` of a process says what happens where, in the syntax of the crate `fail`: `change.after_commit=return(abort)`,
//! or `import.after_batch=2*off->return(abort)` for the third time. What is returned is one of `abort` (the process is gone, as
//! by SIGKILL), `error` (the boundary fails as if the database had) and `delay MILLISECONDS`.

#[cfg(feature = "failpoints")]
use std::time::Duration;

/// Marks a boundary. An error goes up with `?` as one of the database.
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! fail_point {
    ($name:literal) => {
        $crate::infra::fault::reach($name).await?
    };
}

/// Marks a boundary. This build cannot stop at it.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! fail_point {
    ($name:literal) => {};
}

pub use crate::fail_point;

/// Reads `FAILPOINTS`. Call it once, before anything else runs.
///
/// # Errors
/// What is wrong with it.
#[cfg(feature = "failpoints")]
pub fn init() -> Result<(), String> {
    let Ok(wanted) = std::env::var("FAILPOINTS") else { return Ok(()) };
    for point in wanted.split(';').map(str::trim).filter(|point| !point.is_empty()) {
        let (name, actions) = point.split_once('=').ok_or_else(|| format!("{point:?} in FAILPOINTS lacks an ="))?;
        fail::cfg(name, actions)?;
    }
    Ok(())
}

/// Does at a boundary what `FAILPOINTS` wants.
#[cfg(feature = "failpoints")]
pub async fn reach(name: &'static str) -> sqlx::Result<()> {
    let Some(wanted) = fail::eval(name, Option::unwrap_or_default) else { return Ok(()) };
    match (wanted.as_str(), wanted.strip_prefix("delay ").and_then(|pause| pause.parse().ok())) {
        ("abort", _) => std::process::abort(),
        (_, Some(milliseconds)) => tokio::time::sleep(Duration::from_millis(milliseconds)).await,
        _ => return Err(sqlx::Error::Io(std::io::Error::other(format!("stopped at the fail point {name}")))),
    }
    Ok(())
}
