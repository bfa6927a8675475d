//! The answers to `stats`. Input: a topic and a line number. Output: a name and a value, with
//! memcached's names and types.
//!
//! The handler formats lines when it sends them, a few at a time. So a long answer takes no memory,
//! and the numbers of one answer may differ in time. Values that only memcached has (slab pages,
//! LRU queues, read buffers) are omitted.

use super::connection::{Connection, Phase, Stats};
use super::counters::Count;
use super::out::Out;
use super::{Memcached, Step, VERSION};
use crate::app::Blob;
use crate::metrics::Metric;
use crate::store::{ClassStatistics, Statistics};
use crate::work;
use simoom_io::Reply;
use std::cell::OnceCell;

/// The topic of `stats`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    General,
    Settings,
    /// The store's classes of times to live, in the form of `stats items`.
    Items,
    /// The store's classes of times to live, in the form of `stats slabs`.
    Slabs,
    Sizes,
    /// An empty answer.
    Nothing,
}

impl Topic {
    /// The topic with the name `about`, or `None` for an unknown name.
    pub(super) fn of(about: &[u8]) -> Option<Topic> {
        Some(match about {
            b"" => Topic::General,
            b"settings" => Topic::Settings,
            b"items" => Topic::Items,
            b"slabs" => Topic::Slabs,
            b"sizes" => Topic::Sizes,
            _ => return None,
        })
    }
}

/// The source of a value.
enum Value {
    Number(fn(&Memcached) -> u64),
    Store(fn(&Statistics) -> u64),
    Count(Count),
    Text(&'static str),
    /// Seconds with six decimals, converted from microseconds.
    Seconds(fn() -> u64),
}

use Value::{Number, Seconds, Text};

const GENERAL: &[(&str, Value)] = &[
    ("pid", Number(|_| u64::from(std::process::id()))),
    ("uptime", Number(|handler| u64::from(handler.now.saturating_sub(handler.shared.started())))),
    ("time", Number(|handler| handler.time_of_day.into())),
    ("version", Text(VERSION)),
    ("simoom_version", Text(env!("CARGO_PKG_VERSION"))),
    ("pointer_size", Number(|_| u64::from(usize::BITS))),
    ("rusage_user", Seconds(|| cpu_time_us(Mode::User))),
    ("rusage_system", Seconds(|| cpu_time_us(Mode::System))),
    ("max_connections", Number(|handler| handler.shared.options().connections.into())),
    ("curr_connections", Number(|handler| handler.shared.counters().open_connections())),
    ("total_connections", Value::Count(Count::Opened)),
    ("cmd_get", Value::Count(Count::CmdGet)),
    ("cmd_set", Value::Count(Count::CmdSet)),
    ("cmd_flush", Value::Count(Count::CmdFlush)),
    ("cmd_touch", Value::Count(Count::CmdTouch)),
    ("cmd_meta", Value::Count(Count::CmdMeta)),
    ("get_hits", Value::Count(Count::GetHits)),
    ("get_misses", Value::Count(Count::GetMisses)),
    ("delete_misses", Value::Count(Count::DeleteMisses)),
    ("delete_hits", Value::Count(Count::DeleteHits)),
    ("incr_misses", Value::Count(Count::IncrMisses)),
    ("incr_hits", Value::Count(Count::IncrHits)),
    ("decr_misses", Value::Count(Count::DecrMisses)),
    ("decr_hits", Value::Count(Count::DecrHits)),
    ("cas_misses", Value::Count(Count::CasMisses)),
    ("cas_hits", Value::Count(Count::CasHits)),
    ("cas_badval", Value::Count(Count::CasBadval)),
    ("touch_hits", Value::Count(Count::TouchHits)),
    ("touch_misses", Value::Count(Count::TouchMisses)),
    ("store_too_large", Value::Count(Count::TooLarge)),
    ("store_no_memory", Value::Count(Count::NoMemory)),
    ("auth_cmds", Text("0")),
    ("auth_errors", Text("0")),
    ("bytes_read", Value::Count(Count::BytesRead)),
    ("bytes_written", Value::Count(Count::BytesWritten)),
    ("limit_maxbytes", Number(|handler| handler.shared.options().memory_bytes)),
    ("accepting_conns", Number(|handler| u64::from(!handler.draining))),
    ("listen_disabled_num", Text("0")),
    ("threads", Number(|handler| handler.shared.options().threads as u64)),
    ("hash_bytes", Value::Store(|store| store.hash_places * 8)),
    ("hash_is_expanding", Text("0")),
    ("bytes", Value::Store(|store| store.bytes)),
    ("curr_items", Value::Store(|store| store.curr_items)),
    ("total_items", Value::Store(|store| store.total_items)),
    ("expired_unfetched", Value::Store(|store| store.expired_unfetched)),
    ("evicted_unfetched", Value::Store(|store| store.evicted_unfetched)),
    ("evictions", Value::Store(|store| store.evictions)),
    ("reclaimed", Value::Store(|store| store.reclaimed)),
];

const SETTINGS: &[(&str, Value)] = &[
    ("maxbytes", Number(|handler| handler.shared.options().memory_bytes)),
    ("maxconns", Number(|handler| handler.shared.options().connections.into())),
    ("tcpport", Number(|handler| handler.shared.options().port.into())),
    ("udpport", Number(|handler| handler.shared.options().udp_port.into())),
    ("verbosity", Text("0")),
    ("evictions", Text("on")),
    ("domain_socket", Text("NULL")),
    ("shutdown_command", Text("no")),
    ("num_threads", Number(|handler| handler.shared.options().threads as u64)),
    ("stat_key_prefix", Text(":")),
    ("detail_enabled", Text("no")),
    ("cas_enabled", Text("yes")),
    ("binding_protocol", Text("auto-negotiate")),
    ("auth_enabled_sasl", Text("no")),
    ("auth_enabled_ascii", Text("no")),
    ("item_size_max", Number(|handler| handler.shared.options().item_max_bytes)),
    ("maxconns_fast", Text("yes")),
    ("slab_reassign", Text("no")),
    ("slab_automove", Text("0")),
    ("lru_crawler", Text("no")),
    ("flush_enabled", Text("yes")),
    ("dump_enabled", Text("yes")),
    ("lru_maintainer_thread", Text("no")),
    ("lru_segmented", Text("no")),
    ("idle_timeout", Number(|handler| handler.shared.options().idle_seconds.into())),
    ("track_sizes", Text("no")),
    ("client_flags_size", Text("4")),
];

const SIZES: &[(&str, Value)] = &[("sizes_status", Text("disabled"))];

type Field<T> = (&'static str, fn(&T) -> u64);

const ITEMS: &[Field<ClassStatistics>] = &[
    ("number", |class| class.items),
    ("age", |class| class.age.into()),
    ("mem_requested", |class| class.bytes),
    ("evicted", |class| class.evicted),
    ("evicted_nonzero", |class| class.evicted_nonzero),
    ("evicted_time", |class| class.evicted_idle.into()),
    ("outofmemory", |class| class.out_of_memory),
    ("reclaimed", |class| class.reclaimed),
    ("expired_unfetched", |class| class.expired_unfetched),
    ("evicted_unfetched", |class| class.evicted_unfetched),
];

const SLABS: &[Field<ClassStatistics>] = &[
    ("chunk_size", ClassStatistics::mean_item_bytes),
    ("total_pages", |class| class.segments),
    ("total_chunks", |class| class.items + class.items_that_fit()),
    ("used_chunks", |class| class.items),
    ("free_chunks", ClassStatistics::items_that_fit),
    ("cmd_set", |class| class.sets),
    ("cas_hits", |class| class.cas_hits),
    ("cas_badval", |class| class.cas_badval),
];

/// The store's statistics, taken at most once for all lines that one call writes.
#[derive(Default)]
struct Snapshot {
    statistics: OnceCell<Statistics>,
    classes: OnceCell<Vec<ClassStatistics>>,
}

impl Snapshot {
    fn statistics(&self, handler: &Memcached) -> &Statistics {
        self.statistics.get_or_init(|| handler.store.statistics())
    }

    fn classes(&self, handler: &Memcached) -> &[ClassStatistics] {
        self.classes.get_or_init(|| handler.store.classes(handler.now))
    }
}

impl Memcached {
    /// Continues an answer. At its end, consumes the last byte of the request.
    #[cold]
    pub(super) fn stats(
        &mut self,
        conn: &mut Connection,
        mut stats: Stats,
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        let (mut name, mut value) = (Out::new(), Out::new());
        let snapshot = Snapshot::default();
        while !conn.share.is_used_up() && reply.has_capacity() {
            let is_line = self.stats_line(&stats, &snapshot, name.clear(), value.clear());
            match stats.opaque {
                Some(opaque) => self.answer_stat(opaque, name.bytes(), value.bytes(), reply),
                None if is_line => {
                    self.out
                        .clear()
                        .push(b"STAT ")
                        .push(name.bytes())
                        .push(b" ")
                        .push(value.bytes());
                    reply.copy(self.out.push(b"\r\n").bytes());
                }
                None => reply.copy(b"END\r\n"),
            }
            if !is_line {
                conn.phase = Phase::Command;
                return Step::Took(1);
            }
            stats.line += 1;
            conn.share.count();
        }
        conn.phase = Phase::Stats(stats);
        Step::Wait
    }

    /// Writes the line's name and value. After the last line, returns false and leaves both empty.
    fn stats_line(
        &self,
        stats: &Stats,
        snapshot: &Snapshot,
        name: &mut Out,
        value: &mut Out,
    ) -> bool {
        let line = usize::from(stats.line);
        match stats.topic {
            Topic::General => self.known_line(GENERAL, line, snapshot, name, value),
            Topic::Settings => self.known_line(SETTINGS, line, snapshot, name, value),
            Topic::Items => class_line(snapshot.classes(self), b"items:", ITEMS, line, name, value),
            Topic::Slabs => {
                let classes = snapshot.classes(self);
                class_line(classes, b"", SLABS, line, name, value)
                    || slabs_end(classes, line, name, value)
            }
            Topic::Sizes => self.known_line(SIZES, line, snapshot, name, value),
            Topic::Nothing => false,
        }
    }

    fn known_line(
        &self,
        lines: &[(&str, Value)],
        line: usize,
        snapshot: &Snapshot,
        name: &mut Out,
        value: &mut Out,
    ) -> bool {
        let Some((known, source)) = lines.get(line) else { return false };
        name.push(known.as_bytes());
        match source {
            Number(number) => value.number(number(self)),
            Value::Store(number) => value.number(number(snapshot.statistics(self))),
            Value::Count(count) => value.number(self.shared.counters().sum(*count)),
            Text(text) => value.push(text.as_bytes()),
            Seconds(us) => {
                let us = us();
                value.number(us / 1_000_000).push(b".");
                let decimals = (0..6).rev().map(|digit| b'0' + (us / 10u64.pow(digit) % 10) as u8);
                decimals.fold(value, |value, digit| value.push(&[digit]))
            }
        };
        true
    }
}

fn class_line(
    classes: &[ClassStatistics],
    prefix: &[u8],
    fields: &[Field<ClassStatistics>],
    line: usize,
    name: &mut Out,
    value: &mut Out,
) -> bool {
    let Some(class) = classes.get(line / fields.len()) else { return false };
    let (field, number) = fields[line % fields.len()];
    name.push(prefix).number(class.class.into()).push(b":").push(field.as_bytes());
    value.number(number(class));
    true
}

fn slabs_end(classes: &[ClassStatistics], line: usize, name: &mut Out, value: &mut Out) -> bool {
    match line - classes.len() * SLABS.len() {
        0 => (name.push(b"active_slabs"), value.number(classes.len() as u64)),
        1 => {
            let bytes = classes.iter().map(|class| class.segment_bytes).sum();
            (name.push(b"total_malloced"), value.number(bytes))
        }
        _ => return false,
    };
    true
}

/// Passes the metrics of the store to `sink`, once for all workers.
pub fn publish_store(statistics: &Statistics, sink: &mut dyn FnMut(&'static Metric, u64)) {
    statistics.iter().for_each(|(metric, value)| sink(metric, value));
}

/// Reading /proc costs about as much as copying this.
const CPU_TIME_WORK_BYTES: usize = 64 << 10;

/// The processor time of this process.
#[derive(Clone, Copy)]
enum Mode {
    User,
    System,
}

/// Processor time of the process, in microseconds, with a resolution of 10 ms (proc(5),
/// /proc/pid/stat). 0 without /proc.
fn cpu_time_us(mode: Mode) -> u64 {
    work::add(CPU_TIME_WORK_BYTES);
    let Ok(stat) = std::fs::read_to_string("/proc/self/stat") else { return 0 };
    // The second field is the program's name in parentheses. It may contain spaces.
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let field = match mode {
        Mode::User => 14,
        Mode::System => 15,
    };
    let ticks: Option<u64> =
        behind_name.split_whitespace().nth(field - 3).and_then(|ticks| ticks.parse().ok());
    ticks.unwrap_or(0) * 10_000
}
