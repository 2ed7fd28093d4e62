//! `./dev` tells its own services from others.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};

/// Which services `./dev` takes for its own and where it looks for them, with these variables exported.
fn located(database: &str, redis: &str) -> Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let script = "set -euo pipefail; . dev.d/services.sh; PASSWORD=secret POSTGRES_PORT=15001 REDIS_PORT=15002
                  locate_services; echo \"$OWN_POSTGRES $DATABASE_URL $SERVER_URL $OWN_REDIS $REDIS_URL\"";
    let run = Command::new("bash")
        .args(["-c", script])
        .current_dir(root)
        .env("DATABASE_URL", database)
        .env("REDIS_URL", redis)
        .output()?;
    ensure!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    Ok(String::from_utf8(run.stdout)?.trim().to_owned())
}

#[test]
fn its_own_services_are_known_when_their_ports_have_changed() -> Result<()> {
    let ours = "true postgres://muster:secret@127.0.0.1:15001/muster postgres://muster:secret@127.0.0.1:15001/postgres \
                true redis://:secret@127.0.0.1:15002/0";
    assert_eq!(located("", "")?, ours);
    assert_eq!(located("postgres://muster:secret@127.0.0.1:15001/muster", "redis://:secret@127.0.0.1:15002/0")?, ours);
    // Exported before another process took the ports.
    assert_eq!(located("postgres://muster:secret@127.0.0.1:14001/muster", "redis://:secret@127.0.0.1:14002/0")?, ours);
    let (database, redis) = ("postgres://muster:other@127.0.0.1:15001/muster", "redis://127.0.0.1:15002/0");
    assert_eq!(located(database, redis)?, format!("false {database} {database} false {redis}"));
    Ok(())
}
