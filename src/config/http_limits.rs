//! The limits of HTTP: flags, defaults and bounds.

use super::values;
use crate::app::http::{self, HeadLimits, Options};
use crate::error::{Error, Result};
use clap::Args;
use simoom_io::Duration;

/// Smallest limit of a request head and of a request line.
const HEAD_MIN_BYTES: u64 = 256;

/// The flags of HTTP's limits.
#[derive(Args, Clone, Debug, Default)]
pub struct HttpLimitOptions {
    /// Largest head of an HTTP request, up to 16K [default: 16K]
    ///
    /// A larger head is answered with 431 and counted (http_head_too_large).
    #[arg(long, value_name = "SIZE", value_parser = values::bytes, help_heading = "Limits of HTTP")]
    pub http_head_size: Option<u64>,

    /// Largest request line: method, target and version [default: 8K, or --http-head-size if less]
    ///
    /// A longer line is answered with 414 and counted (http_line_too_long).
    #[arg(long, value_name = "SIZE", value_parser = values::bytes, help_heading = "Limits of HTTP")]
    pub http_line_size: Option<u64>,

    /// Largest content of an HTTP request, which is discarded [default: 1M]
    ///
    /// Larger content is answered with 413 and counted (http_body_too_large). 0 allows none.
    #[arg(long, value_name = "SIZE", value_parser = values::bytes, help_heading = "Limits of HTTP")]
    pub http_body_size: Option<u64>,

    /// Largest number of requests on one connection [default: no limit]
    ///
    /// The last answer says `Connection: close` and is counted (http_request_limits).
    #[arg(long, value_name = "N", value_parser = values::count, help_heading = "Limits of HTTP")]
    pub http_requests: Option<u32>,

    /// Largest number of pipelined requests that a connection has answered at a time [default: 64]
    ///
    /// Then other connections are served first. Each interruption is counted
    /// (http_pipeline_limits).
    #[arg(long, value_name = "N", value_parser = values::count, help_heading = "Limits of HTTP")]
    pub http_pipeline: Option<u32>,

    /// Time for the whole content of an HTTP request [default: 60s]
    ///
    /// A slower client is answered with 408 and counted (http_body_timeouts).
    #[arg(long, value_name = "TIME", value_parser = values::timeout, help_heading = "Timeouts (500ms, 30s, 5m)")]
    pub body_timeout: Option<std::time::Duration>,
}

impl HttpLimitOptions {
    /// Fills in the defaults and checks the bounds. The timeouts of the head and of idle
    /// connections are set elsewhere.
    pub(super) fn resolve(&self) -> Result<Options> {
        let default = Options::default();
        let head_max_bytes =
            bounded("--http-head-size", self.http_head_size, http::INPUT_MAX_BYTES as u64)?
                .unwrap_or(default.head.head_max_bytes);
        let line_max_bytes =
            bounded("--http-line-size", self.http_line_size, u64::from(head_max_bytes))?
                .unwrap_or(default.head.line_max_bytes.min(head_max_bytes));
        let body_max_bytes = match self.http_body_size.map(u32::try_from) {
            Some(Ok(size)) => size,
            Some(Err(_)) => return Err(Error::usage("--http-body-size: at most 4294967295")),
            None => default.body_max_bytes,
        };
        let mut timeouts = default.timeouts;
        if let Some(time) = self.body_timeout {
            timeouts.body = Duration::from(time);
        }
        Ok(Options {
            timeouts,
            head: HeadLimits { line_max_bytes, head_max_bytes },
            body_max_bytes,
            requests_max: self.http_requests.unwrap_or(default.requests_max),
            pipeline_max: self.http_pipeline.unwrap_or(default.pipeline_max),
        })
    }
}

/// The size, if it is given. An error names the bounds.
fn bounded(flag: &str, size: Option<u64>, max: u64) -> Result<Option<u16>> {
    match size {
        None => Ok(None),
        Some(size) if (HEAD_MIN_BYTES..=max).contains(&size) => Ok(Some(size as u16)),
        Some(size) => {
            Err(Error::usage(format!("{flag} {size}: must be between {HEAD_MIN_BYTES} and {max}")))
        }
    }
}
