//! Kinds of metrics, with the names of their labels fixed and the values in the same order.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::{counter, gauge, histogram};
use prometheus_client::registry::{Metric, Registry, Unit};

/// Names and values of a series.
type Labels<const N: usize> = [(&'static str, &'static str); N];

/// Upper bounds of the buckets, in seconds: from a cached read to an import.
const BUCKETS: [f64; 15] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0];

type NewHistogram = fn() -> histogram::Histogram;

fn new_histogram() -> histogram::Histogram {
    histogram::Histogram::new(BUCKETS)
}

/// What the catalogue needs to know of a kind.
pub(super) trait Kind {
    /// As Prometheus calls it.
    const NAME: &'static str;
}

fn register(registry: &mut Registry, name: &'static str, help: &'static str, unit: Option<Unit>, metric: impl Metric) {
    match unit {
        Some(unit) => registry.register_with_unit(name, help, unit, metric),
        None => registry.register(name, help, metric),
    }
}

macro_rules! kind {
    ($(#[$doc:meta])* $kind:ident, $called:literal, $family:ty, $new:expr) => {
        $(#[$doc])*
        pub(super) struct $kind<const N: usize> {
            labels: [&'static str; N],
            family: $family,
        }

        impl<const N: usize> Kind for $kind<N> {
            const NAME: &'static str = $called;
        }

        impl<const N: usize> $kind<N> {
            pub(super) fn new(labels: [&'static str; N]) -> Self {
                Self { labels, family: $new }
            }

            pub(super) fn register(
                self,
                registry: &mut Registry,
                name: &'static str,
                help: &'static str,
                unit: Option<Unit>,
            ) -> Self {
                if N == 0 {
                    // Without labels there is one series, which is there from the start.
                    register(registry, name, help, unit, self.family.get_or_create_owned(&self.series([""; N])));
                } else {
                    register(registry, name, help, unit, self.family.clone());
                }
                self
            }

            fn series(&self, values: [&'static str; N]) -> Labels<N> {
                std::array::from_fn(|index| (self.labels[index], values[index]))
            }
        }
    };
}

kind! {
    /// Only grows.
    Counter, "counter", Family<Labels<N>, counter::Counter<f64, AtomicU64>>, Family::default()
}

kind! {
    /// Goes up and down.
    Gauge, "gauge", Family<Labels<N>, gauge::Gauge<f64, AtomicU64>>, Family::default()
}

kind! {
    /// How often which durations occurred.
    Histogram, "histogram", Family<Labels<N>, histogram::Histogram, NewHistogram>,
    Family::new_with_constructor(new_histogram as NewHistogram)
}

impl<const N: usize> Counter<N> {
    /// One more.
    pub(super) fn one(&self, values: [&'static str; N]) {
        self.more(values, 1.0);
    }

    /// That many more.
    pub(super) fn more(&self, values: [&'static str; N], by: f64) {
        self.family.get_or_create(&self.series(values)).inc_by(by);
    }

    /// What somebody else counts.
    pub(super) fn raise_to(&self, values: [&'static str; N], total: f64) {
        let counter = self.family.get_or_create(&self.series(values));
        counter.inc_by((total - counter.get()).max(0.0));
    }
}

impl<const N: usize> Gauge<N> {
    /// Its value now.
    pub(super) fn set(&self, values: [&'static str; N], value: f64) {
        self.family.get_or_create(&self.series(values)).set(value);
    }

    /// That much more, or less.
    pub(super) fn add(&self, values: [&'static str; N], by: f64) {
        self.family.get_or_create(&self.series(values)).inc_by(by);
    }

    /// Its values are not known. Only for those with labels.
    pub(super) fn forget(&self) {
        self.family.clear();
    }
}

impl<const N: usize> Histogram<N> {
    /// It took that long.
    pub(super) fn took(&self, values: [&'static str; N], seconds: f64) {
        self.family.get_or_create(&self.series(values)).observe(seconds);
    }
}
