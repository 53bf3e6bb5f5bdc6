//! The state of the agent, and who holds namespaces.

use super::mount::{as_of, coverage_of, text};
use super::{Malformed, v1};
use crate::agent::{SelfTest, Status};
use crate::model::{Holder, Revision, SyscallCost};
use v1::get_status_response as status;

/// Names of back ends.
const BACKENDS: [&str; 3] = ["hooks", "notify", "poll"];

pub(crate) fn to_status(known: Status, instance: u64) -> v1::GetStatusResponse {
    let counters = known.counters.into_iter();
    let attached = known.attached.into_iter();
    v1::GetStatusResponse {
        as_of: Some(as_of(instance, known.revision, &known.coverage)),
        backend: known.backend.to_owned(),
        mounts: known.mounts,
        namespaces: known.namespaces,
        records: known.records,
        losses: known.losses,
        rescans: known.rescans,
        rereads: known.rereads,
        looks: known.looks,
        anomalies: known.anomalies,
        lag_us_max: known.lag_us_max,
        attached: attached
            .map(|(hook, function, kind)| status::Attached { hook, function, kind })
            .collect(),
        selftest: known.selftest.map(to_selftest),
        refused: known.refused,
        counters: counters
            .map(|(name, value)| status::Counter { name: name.into_owned(), value })
            .collect(),
        cost: known
            .cost
            .map(|cost| status::SyscallCost { before_ns: cost.before_ns, after_ns: cost.after_ns }),
        ring_bytes: known.ring_bytes,
        ring_used_bytes_max: known.ring_used_bytes_max,
        names: known.names,
        unattributed: known.unattributed,
        kernel: known.kernel,
    }
}

pub(crate) fn status_of(known: v1::GetStatusResponse) -> Result<Status, Malformed> {
    let as_of = known.as_of.ok_or(Malformed("as_of"))?;
    let attached = known.attached.into_iter();
    let counters = known.counters.into_iter();
    let backend = BACKENDS.into_iter().find(|name| *name == known.backend);
    Ok(Status {
        backend: backend.ok_or(Malformed("backend"))?,
        coverage: coverage_of(as_of.coverage)?,
        revision: Revision(as_of.position.ok_or(Malformed("position"))?.revision),
        mounts: known.mounts,
        namespaces: known.namespaces,
        records: known.records,
        losses: known.losses,
        rescans: known.rescans,
        rereads: known.rereads,
        looks: known.looks,
        anomalies: known.anomalies,
        lag_us_max: known.lag_us_max,
        attached: attached.map(|one| (one.hook, one.function, one.kind)).collect(),
        selftest: known.selftest.map(selftest_of),
        refused: known.refused,
        counters: counters.map(|one| (one.name.into(), one.value)).collect(),
        cost: known
            .cost
            .map(|cost| SyscallCost { before_ns: cost.before_ns, after_ns: cost.after_ns }),
        ring_bytes: known.ring_bytes,
        ring_used_bytes_max: known.ring_used_bytes_max,
        names: known.names,
        unattributed: known.unattributed,
        kernel: known.kernel,
    })
}

fn to_selftest(found: SelfTest) -> status::SelfTest {
    let findings = |pairs: Vec<(String, String)>| {
        pairs.into_iter().map(|(hook, text)| status::Finding { hook, text }).collect()
    };
    status::SelfTest {
        us: found.us,
        acts: found.acts,
        failed: findings(found.failed),
        replaced: findings(found.replaced),
        skipped: found.skipped,
        blind: found.blind,
        unattributed: found.unattributed,
    }
}

fn selftest_of(found: status::SelfTest) -> SelfTest {
    let pairs = |findings: Vec<status::Finding>| {
        findings.into_iter().map(|one| (one.hook, one.text)).collect()
    };
    SelfTest {
        us: found.us,
        acts: found.acts,
        failed: pairs(found.failed),
        replaced: pairs(found.replaced),
        skipped: found.skipped,
        blind: found.blind,
        unattributed: found.unattributed,
    }
}

pub(crate) fn to_holder(holder: &Holder) -> v1::Holder {
    v1::Holder {
        processes: holder.processes,
        pid: holder.pid,
        comm: holder.comm.to_vec(),
        comm_text: text(&holder.comm),
        container: holder.container.clone(),
        descriptor_of: holder.descriptor_of,
    }
}

pub(crate) fn holder_of(holder: v1::Holder) -> Holder {
    Holder {
        processes: holder.processes,
        pid: holder.pid,
        comm: holder.comm.into(),
        container: holder.container,
        descriptor_of: holder.descriptor_of,
        ..Holder::default()
    }
}
