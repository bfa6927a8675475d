//! `lru_crawler metadump` and `mgdump`: list all items, one line for each, as the send queue has
//! capacity. A list walks the whole hash table, however few items it contains. So it continues in
//! the next iteration when the connection has used up its share of this one.

use super::connection::{Connection, Phase, Wide};
use super::out::Out;
use super::text::DumpOf;
use super::time::Times;
use super::{Memcached, Step};
use crate::app::Blob;
use crate::store::Visit;
use simoom_io::Reply;

/// The cursor after the last item.
const ENDED: Wide = Wide(u64::MAX);

/// The position within a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dump {
    of: DumpOf,
    begun: bool,
    /// The next position in the store, or [`ENDED`].
    cursor: Wide,
}

impl Dump {
    pub(super) fn of(of: DumpOf) -> Dump {
        Dump { of, begun: false, cursor: Wide(0) }
    }
}

impl Memcached {
    /// Continues a list. At its end, consumes the last byte of the request.
    #[cold]
    pub(super) fn dump(
        &mut self,
        conn: &mut Connection,
        mut dump: Dump,
        reply: &mut Reply<'_, Blob>,
    ) -> Step {
        if !dump.begun {
            self.write_line(b"OK", reply);
        }
        dump.begun = true;
        while !conn.share.is_used_up() && reply.has_capacity() {
            if dump.cursor == ENDED {
                return Memcached::end_dump(conn, dump, reply);
            }
            let (times, out) = (self.times(), &mut self.out);
            // One item at a time: each sent item lies before the cursor, whatever other threads
            // write.
            let next = self.store.dump(dump.cursor.0, 1, self.now, &mut |visit| {
                describe(&visit, dump.of, times, out.clear());
                reply.copy(out.bytes());
            });
            dump.cursor = next.map_or(ENDED, Wide);
            conn.share.count();
        }
        conn.phase = Phase::Dump(dump);
        Step::Wait
    }

    fn end_dump(conn: &mut Connection, dump: Dump, reply: &mut Reply<'_, Blob>) -> Step {
        conn.phase = Phase::Command;
        reply.copy(match dump.of {
            DumpOf::Metadata => b"END\r\n",
            DumpOf::Keys => b"EN\r\n",
        });
        Step::Took(1)
    }
}

fn describe(visit: &Visit<'_>, of: DumpOf, times: Times, out: &mut Out) {
    let meta = &visit.meta;
    match of {
        DumpOf::Keys if meta.binary_key => out.push(b"mg ").base64(visit.key).push(b" b\r\n"),
        DumpOf::Keys => out.push(b"mg ").push(visit.key).push(b"\r\n"),
        DumpOf::Metadata => {
            out.push(b"key=").escaped(visit.key).push(b" exp=");
            match meta.exptime {
                0 => out.push(b"-1"),
                exptime => out.number(times.date(exptime).into()),
            };
            out.push(b" la=").number(times.date(meta.last_access).into());
            out.push(b" cas=").number(meta.cas);
            out.push(if meta.fetched { b" fetch=yes" } else { b" fetch=no" });
            out.push(b" cls=").number(visit.class.into());
            out.push(b" size=").number(visit.size_bytes as u64);
            out.push(b" flags=").number(meta.flags.into()).push(b" \n")
        }
    };
}
