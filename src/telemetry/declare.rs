//! Declaring metrics in a registry.

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, Result,
};

/// A metric could not be declared: its name is taken in this registry, or the library refuses it.
#[derive(Debug, thiserror::Error)]
#[error("cannot declare the metric {name}")]
pub struct MetricsError {
    pub name: &'static str,
    pub source: prometheus::Error,
}

/// A label, or several, and those values of a single one that are there from the start, with zero, so that a
/// rate over a new series is right: all of a closed list, none of names that come with the work.
pub(super) struct Label {
    pub(super) names: Vec<&'static str>,
    pub(super) values: Vec<&'static str>,
}

/// A kind of metric.
pub(super) trait Kind: Collector + Clone + 'static {
    /// What there is to say of one besides its name and help.
    type Form;

    fn build(opts: Opts, form: Self::Form) -> Result<Self>;
}

pub(super) fn declare<M: Kind>(
    registry: &Registry,
    name: &'static str,
    help: &str,
    form: M::Form,
) -> std::result::Result<M, MetricsError> {
    M::build(Opts::new(name, help), form)
        .and_then(|metric| registry.register(Box::new(metric.clone())).map(|()| metric))
        .map_err(|source| MetricsError { name, source })
}

impl Kind for IntCounter {
    type Form = ();

    fn build(opts: Opts, (): ()) -> Result<Self> {
        Self::with_opts(opts)
    }
}

impl Kind for IntGauge {
    type Form = ();

    fn build(opts: Opts, (): ()) -> Result<Self> {
        Self::with_opts(opts)
    }
}

impl Kind for Histogram {
    type Form = &'static [f64];

    fn build(opts: Opts, buckets: Self::Form) -> Result<Self> {
        Self::with_opts(HistogramOpts::from(opts).buckets(buckets.to_vec()))
    }
}

impl Kind for IntCounterVec {
    type Form = Label;

    fn build(opts: Opts, label: Label) -> Result<Self> {
        let counters = Self::new(opts, &label.names)?;
        label.values.iter().for_each(|value| drop(counters.with_label_values(&[value])));
        Ok(counters)
    }
}

impl Kind for IntGaugeVec {
    type Form = Label;

    fn build(opts: Opts, label: Label) -> Result<Self> {
        let gauges = Self::new(opts, &label.names)?;
        label.values.iter().for_each(|value| drop(gauges.with_label_values(&[value])));
        Ok(gauges)
    }
}

impl Kind for HistogramVec {
    type Form = (Label, &'static [f64]);

    fn build(opts: Opts, (label, buckets): Self::Form) -> Result<Self> {
        let histograms = Self::new(HistogramOpts::from(opts).buckets(buckets.to_vec()), &label.names)?;
        label.values.iter().for_each(|value| drop(histograms.with_label_values(&[value])));
        Ok(histograms)
    }
}
