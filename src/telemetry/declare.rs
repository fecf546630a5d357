//! Declaring metrics in a registry.

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// A metric could not be declared: its name is taken in this registry, or the library refuses it.
#[derive(Debug, thiserror::Error)]
#[error("cannot declare the metric {name}")]
pub struct MetricsError {
    pub name: &'static str,
    pub source: prometheus::Error,
}

pub(super) struct Declare<'a>(pub(super) &'a Registry);

impl Declare<'_> {
    pub(super) fn counter(&self, name: &'static str, help: &str) -> Result<IntCounter, MetricsError> {
        self.register(name, IntCounter::new(name, help))
    }

    pub(super) fn counters(&self, name: &'static str, help: &str, label: &str) -> Result<IntCounterVec, MetricsError> {
        self.register(name, IntCounterVec::new(Opts::new(name, help), &[label]))
    }

    pub(super) fn gauge(&self, name: &'static str, help: &str) -> Result<IntGauge, MetricsError> {
        self.register(name, IntGauge::new(name, help))
    }

    pub(super) fn gauges(&self, name: &'static str, help: &str, label: &str) -> Result<IntGaugeVec, MetricsError> {
        self.register(name, IntGaugeVec::new(Opts::new(name, help), &[label]))
    }

    pub(super) fn histogram(&self, name: &'static str, help: &str, buckets: &[f64]) -> Result<Histogram, MetricsError> {
        self.register(name, Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }

    pub(super) fn histograms(
        &self,
        name: &'static str,
        help: &str,
        label: &str,
        buckets: &[f64],
    ) -> Result<HistogramVec, MetricsError> {
        self.register(name, HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), &[label]))
    }

    fn register<M>(&self, name: &'static str, metric: prometheus::Result<M>) -> Result<M, MetricsError>
    where
        M: Collector + Clone + 'static,
    {
        metric
            .and_then(|metric| self.0.register(Box::new(metric.clone())).map(|()| metric))
            .map_err(|source| MetricsError { name, source })
    }
}
