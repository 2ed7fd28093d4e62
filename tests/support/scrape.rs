//! Reads `/metrics` of a real process as Prometheus does.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::process::Process;

/// Nothing here takes this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// What has to be set for [`Metrics::of`].
pub(crate) const LISTEN: (&str, &str) = ("MUSTER_METRICS_LISTEN", "127.0.0.1:0");

/// Where a process serves its metrics.
pub(crate) struct Metrics {
    pub(crate) url: String,
    http: reqwest::Client,
}

/// The series of one scrape, each under its name with labels.
pub(crate) struct Page {
    pub(crate) text: String,
    series: BTreeMap<String, f64>,
}

impl Metrics {
    /// Of a process that was started with [`LISTEN`], once it says where.
    pub(crate) async fn of(process: &Process) -> Result<Self> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let log = process.log();
            if let Some((_, rest)) = log.split_once("metrics.listen=")
                && let Some((address, _)) = rest.split_once('\n')
            {
                return Ok(Self { url: format!("http://{address}"), http: reqwest::Client::new() });
            }
            if tokio::time::Instant::now() > deadline {
                bail!("it serves no metrics: {log}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn read(&self) -> Result<Page> {
        let answer = self.http.get(format!("{}/metrics", self.url)).send().await?;
        assert_eq!(answer.status(), 200);
        let text = answer.text().await?;
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
            Ok((name.to_owned(), value.parse().with_context(|| line.to_owned())?))
        };
        let series = samples.map(sample).collect::<Result<_>>()?;
        Ok(Page { text, series })
    }

    /// Reads until a condition is met.
    pub(crate) async fn until(&self, is_met: impl Fn(&Page) -> bool) -> Result<Page> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let page = self.read().await?;
            if is_met(&page) {
                return Ok(page);
            }
            if tokio::time::Instant::now() > deadline {
                bail!("not met: {}", page.text);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Page {
    /// The value of a series, if there is one.
    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.series.get(name).copied()
    }

    /// All series of a metric, labels and value.
    pub(crate) fn all(&self, metric: &str) -> Vec<(&str, f64)> {
        let of_metric =
            |name: &'_ str| name == metric || name.strip_prefix(metric).is_some_and(|rest| rest.starts_with('{'));
        self.series.iter().filter(|(name, _)| of_metric(name)).map(|(name, value)| (name.as_str(), *value)).collect()
    }

    /// By how much each series of a metric has grown since an earlier page, where it has.
    pub(crate) fn growth(&self, since: &Self, metric: &str) -> Vec<(String, f64)> {
        let grown =
            self.all(metric).into_iter().map(|(name, now)| (name.to_owned(), now - since.get(name).unwrap_or(0.0)));
        grown.filter(|(_, growth)| *growth != 0.0).collect()
    }
}
