//! What is written to stdout, as JSON.

use serde::Serialize;

use crate::steady::Disturbance;

#[derive(Serialize)]
pub struct Report {
    pub windows: Vec<Window>,
    /// Frames used out of the ring's order. With any, nothing of the report holds.
    pub disorder: u64,
}

#[derive(Serialize)]
pub struct Window {
    pub seconds: f64,
    /// Frames that arrived.
    pub frames: u64,
    /// Frames that did not.
    pub lost: u64,
    /// Time stamp counter's ticks a frame.
    pub cycles: f64,
    /// Of one frame's way, in microseconds; latency only.
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    #[serde(flatten)]
    pub disturbance: Disturbance,
}
