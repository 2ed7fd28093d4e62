//! Redis: reachable, of a shape the queue works with, and never dropping keys.

use domain::infra::config::Config;
use secrecy::ExposeSecret as _;

use super::{Finding, PATIENCE};

pub(super) async fn inspect(config: &Config) -> Vec<Finding> {
    let Some(url) = &config.redis_url else {
        return vec![Finding::ok("not set: one `muster serve` runs everything; set REDIS_URL to run more processes")];
    };
    let mend = "start Redis or correct REDIS_URL; until then jobs are late, none is lost";
    match tokio::time::timeout(PATIENCE, info(url.expose_secret())).await {
        Err(_) => vec![Finding::problem(format!("no answer within {} s", PATIENCE.as_secs()), mend)],
        // By category, because a message could repeat the URL.
        Ok(Err(error)) => {
            let problem = if error.is_connection_refusal() { "connection refused" } else { error.category() };
            vec![Finding::problem(format!("cannot be used: {problem}"), mend)]
        }
        Ok(Ok(info)) => judge(&info),
    }
}

async fn info(url: &str) -> redis::RedisResult<String> {
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    redis::cmd("INFO").query_async(&mut connection).await
}

fn judge(info: &str) -> Vec<Finding> {
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let version = field("redis_version").unwrap_or("of unknown version");
    let mut findings = vec![match version.split('.').next().and_then(|major| major.parse::<u32>().ok()) {
        Some(major) if major < 6 => Finding::problem(format!("Redis {version} is too old"), "upgrade to 7"),
        _ => Finding::ok(format!("Redis {version}")),
    }];
    if field("redis_mode") == Some("cluster") {
        findings.push(Finding::problem(
            "a Redis Cluster",
            "use one primary with replicas, or Sentinel: the queue's scripts need all keys on one node",
        ));
    }
    if field("role") == Some("slave") {
        findings.push(Finding::problem("a replica, which cannot be written", "name the primary in REDIS_URL"));
    }
    match field("maxmemory_policy") {
        Some("noeviction") | None => {}
        Some(policy) => findings.push(Finding::warning(
            format!("maxmemory-policy is {policy}: keys of the queue may be dropped, and jobs run late"),
            "run: redis-cli CONFIG SET maxmemory-policy noeviction (and set it in redis.conf)",
        )),
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(info: &str) -> usize {
        judge(info).iter().filter(|finding| matches!(finding, Finding::Problem { .. })).count()
    }

    #[test]
    fn shapes_the_queue_cannot_use_are_problems() {
        assert_eq!(
            problems("redis_version:7.0.15\r\nredis_mode:standalone\r\nrole:master\r\nmaxmemory_policy:noeviction\r\n"),
            0
        );
        assert_eq!(problems("redis_version:5.0.1\r\n"), 1);
        assert_eq!(problems("redis_version:7.2.0\r\nredis_mode:cluster\r\n"), 1);
        assert_eq!(problems("redis_version:7.2.0\r\nrole:slave\r\n"), 1);
    }

    #[test]
    fn dropping_keys_is_a_warning() {
        let findings = judge("redis_version:7.0.15\nmaxmemory_policy:allkeys-lru\n");
        assert!(matches!(findings.as_slice(), [Finding::Ok(_), Finding::Warning { .. }]));
    }
}
