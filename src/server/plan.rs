//! The memory plans of both transports: the tables and pools of each worker for the given
//! connections.

use super::Common;
use super::factories::{Factories, Ports};
use crate::error::Result;
use crate::kernel::{Poller, Settings};
use crate::limits::{self, Limit, Plan};
use crate::setup::Setup;
use af_xdp::OpenOptions;
use simoom_tcp::Limits;

/// Limits of one of `workers` stacks with `connections` in total.
pub(super) fn stack_limits(setup: &Setup, connections: u32, workers: u32) -> Limits {
    let limits = Limits::for_connections(connections.div_ceil(workers).min(Limits::MAX));
    Limits {
        connections_per_prefix: setup.connections_per_prefix.unwrap_or(0),
        prefix_lengths: setup.prefix_lengths,
        ..limits
    }
}

/// Settings of one of `workers` kernel workers with `connections` in total.
pub(super) fn kernel_settings(setup: &Setup, connections: u32, workers: usize) -> Settings {
    let each = (connections as usize).div_ceil(workers);
    Settings {
        connections_per_prefix: setup.connections_per_prefix.unwrap_or(0),
        prefix_lengths: setup.prefix_lengths,
        send_timeout: setup.send_timeout,
        keep_alive: setup.keep_alive,
        timeouts_of_ports: setup.timeouts_of_ports(),
        ..Settings::for_connections(each)
    }
}

/// Maximum of connections to each of `ports` in one of `workers` workers with `connections`.
pub(super) fn port_limits(
    setup: &Setup,
    ports: &Ports,
    connections: usize,
    workers: usize,
) -> Vec<(u16, u32)> {
    let connections = u32::try_from(connections).unwrap_or(u32::MAX);
    let limit = |service| setup.connection_limit(service, connections, workers as u32);
    ports.0.iter().map(|(port, service)| (*port, limit(service))).collect()
}

/// Checks the memory of `workers` stacks on a device of `queues` queues, beside a kernel worker of
/// at most `max_beside` connections.
pub(super) fn check_xdp<L: Factories>(
    common: &Common<'_, L>,
    options: &OpenOptions,
    queues: u32,
    workers: u32,
    max_beside: u32,
) -> Result<()> {
    let setup = common.setup;
    let plan = |connections: u32| {
        let mut plan = add_handlers(common, connections, workers as usize, begin(common));
        plan = plan.add("packet memory", queues as usize, options.memory_bytes(1));
        let limits = stack_limits(setup, connections, workers);
        for (what, count, bytes) in limits.memory::<L::Handlers>(&setup.congestion_controls()) {
            let (count, bytes) = (count.max(1) * u64::from(workers), bytes * u64::from(workers));
            plan = plan.add(what, count as usize, bytes.div_ceil(count) as usize);
        }
        let beside_connections = connections.min(max_beside);
        plan = add_handlers(common, beside_connections, 1, plan);
        let beside = kernel_settings(setup, beside_connections, 1);
        plan.add(
            "kernel worker beside AF_XDP",
            1,
            beside.memory_bytes::<L::Handlers>(common.poller),
        )
    };
    check(common, plan)
}

/// Checks the memory of `workers` kernel workers.
pub(super) fn check_kernel<L: Factories>(
    common: &Common<'_, L>,
    workers: usize,
    poller: Poller,
) -> Result<()> {
    let plan = |connections| {
        let settings = kernel_settings(common.setup, connections, workers);
        let plan = add_handlers(common, connections, workers, begin(common));
        plan.add("kernel workers", workers, settings.memory_bytes::<L::Handlers>(poller))
    };
    check(common, plan)
}

/// Starts a plan with the memory that all workers share.
fn begin<L>(common: &Common<'_, L>) -> Plan {
    common.shared.iter().fold(Plan::new(), |plan, (what, bytes)| plan.add(what, 1, *bytes))
}

/// Adds the handlers of `workers` workers with `connections` in total.
fn add_handlers<L: Factories>(
    common: &Common<'_, L>,
    connections: u32,
    workers: usize,
    plan: Plan,
) -> Plan {
    common.factories.plan(workers, (connections as usize).div_ceil(workers), plan)
}

/// Maximum number of threads: a worker for each core, one beside them, and those of UDP, signals,
/// the log and the admin endpoint.
pub(super) fn threads(setup: &Setup) -> usize {
    setup.cores.len() + 5
}

fn check<L>(common: &Common<'_, L>, plan: impl Fn(u32) -> Plan) -> Result<()> {
    let setup = common.setup;
    if let Some(bound) = &common.bound {
        limits::check_bound(bound, setup.connections, &plan)?;
    }
    let plan = limits::check(Limit::from_flag(setup.memory_limit_bytes), setup.connections, plan)?;
    tracing::info!("memory plan for {} connections", setup.connections);
    for row in plan.to_string().lines() {
        tracing::info!("{row}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::HttpAndMemcached;
    use simoom_tcp::Congestion;

    #[test]
    fn a_million_connections_take_at_most_a_kibibyte_each() {
        let limits = Limits { connections_per_prefix: 1, ..Limits::for_connections(1_000_000) };
        let bytes: u64 = limits
            .memory::<HttpAndMemcached>(&[Congestion::default()])
            .map(|(_, _, bytes)| bytes)
            .sum();
        assert!(bytes <= 1_000_000 * 1024, "{} bytes each", bytes / 1_000_000);
    }
}
