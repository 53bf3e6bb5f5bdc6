//! Operations. Their secrets are hidden before they come here.

use super::event::{task_of, to_task};
use super::mount::text;
use super::{Malformed, v1};
use crate::model::{
    Call, Container, Effects, GivenText, NamespaceId, NamespaceInode, Operation, OperationId,
    Revision, Runtime, Surroundings, UniqueMountId, errno_name,
};
use std::sync::Arc;

/// An operation as a message. `wall_ns`: when it began, by the wall clock; 0: not known.
pub(crate) fn to_operation(operation: &Operation, wall_ns: u64) -> v1::Operation {
    let around = &operation.surroundings;
    let bytes = |bytes: &Option<crate::model::Bytes>| bytes.as_deref().map(<[u8]>::to_vec);
    v1::Operation {
        id: operation.id.get(),
        call: operation.call.name().to_owned(),
        is_kernel_made: operation.call.is_kernel_made(),
        arguments: operation.arguments.to_vec(),
        texts: operation.texts.iter().map(to_text).collect(),
        result: operation.result,
        errno: operation.errno().and_then(errno_name).unwrap_or_default().to_owned(),
        begin_ktime_ns: operation.begin_ktime_ns,
        wall_ns,
        duration_ns: operation.duration_ns,
        task: Some(to_task(&operation.task)),
        executable: bytes(&around.executable),
        parent_pid: around.parent_pid,
        parent_comm: bytes(&around.parent_comm),
        namespace: around.mount_namespace.map(|inode| inode.0),
        namespace_id: around.mount_namespace_id.map(|id| id.0),
        pid_namespace: around.pid_namespace,
        cgroup_path: bytes(&around.cgroup_path),
        container: around.container.as_ref().map(|one| one.id.clone()).unwrap_or_default(),
        runtime: around.container.as_ref().map(|one| one.runtime.word()).unwrap_or_default().into(),
        effects: Some(to_effects(&operation.effects)),
    }
}

fn to_text(given: &GivenText) -> v1::GivenText {
    v1::GivenText {
        index: u32::from(given.index),
        text_text: given.text.as_deref().map(text).unwrap_or_default(),
        text: given.text.as_deref().map(<[u8]>::to_vec),
        is_truncated: given.is_truncated,
    }
}

fn to_effects(effects: &Effects) -> v1::Effects {
    let ids = |ids: &[UniqueMountId]| ids.iter().map(|id| id.0).collect();
    v1::Effects {
        created: effects.created,
        changed: effects.changed,
        removed: effects.removed,
        others: effects.others,
        created_ids: ids(&effects.created_ids),
        changed_ids: ids(&effects.changed_ids),
        removed_ids: ids(&effects.removed_ids),
        first_revision: effects.revisions.map(|(first, _)| first.0),
        last_revision: effects.revisions.map(|(_, last)| last.0),
    }
}

/// The operation that a message tells.
pub(crate) fn operation_of(message: v1::Operation) -> Result<Operation, Malformed> {
    let mut arguments = [0; 6];
    for (argument, given) in arguments.iter_mut().zip(message.arguments) {
        *argument = given;
    }
    let texts: Result<_, Malformed> = message.texts.into_iter().map(text_of).collect();
    let runtime = Runtime::from_word(&message.runtime);
    let container =
        (!message.container.is_empty()).then_some(Container { id: message.container, runtime });
    Ok(Operation {
        id: OperationId::new(message.id).ok_or(Malformed("operation.id"))?,
        call: Call::from_name(&message.call).ok_or(Malformed("operation.call"))?,
        arguments,
        texts: texts?,
        result: message.result,
        begin_ktime_ns: message.begin_ktime_ns,
        duration_ns: message.duration_ns,
        task: Arc::new(task_of(message.task.ok_or(Malformed("operation.task"))?)),
        surroundings: Arc::new(Surroundings {
            executable: message.executable.map(Into::into),
            parent_pid: message.parent_pid,
            parent_comm: message.parent_comm.map(Into::into),
            mount_namespace: message.namespace.map(NamespaceInode),
            mount_namespace_id: message.namespace_id.map(NamespaceId),
            pid_namespace: message.pid_namespace,
            cgroup_path: message.cgroup_path.map(Into::into),
            container,
        }),
        effects: effects_of(message.effects.unwrap_or_default()),
    })
}

fn text_of(message: v1::GivenText) -> Result<GivenText, Malformed> {
    Ok(GivenText {
        index: u8::try_from(message.index).map_err(|_| Malformed("operation.texts.index"))?,
        text: message.text.map(Into::into),
        is_truncated: message.is_truncated,
    })
}

fn effects_of(message: v1::Effects) -> Effects {
    let ids = |ids: Vec<u64>| ids.into_iter().map(UniqueMountId).collect();
    let first = message.first_revision.map(Revision);
    Effects {
        created: message.created,
        changed: message.changed,
        removed: message.removed,
        others: message.others,
        created_ids: ids(message.created_ids),
        changed_ids: ids(message.changed_ids),
        removed_ids: ids(message.removed_ids),
        revisions: first.zip(message.last_revision.map(Revision)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Task;

    #[test]
    fn an_operation_comes_back_as_it_was() {
        let operation = Operation {
            id: OperationId::new(7).unwrap(),
            call: Call::Umount2,
            arguments: [1, 2, 0, 0, 0, 0],
            texts: vec![GivenText {
                index: 0,
                text: Some((*b"/mnt\xff").into()),
                is_truncated: true,
            }],
            result: Some(-16),
            begin_ktime_ns: 5,
            duration_ns: Some(6),
            task: Arc::new(Task { pid: 3, comm: (*b"umount").into(), ..Task::default() }),
            surroundings: Arc::new(Surroundings {
                parent_pid: Some(2),
                container: Some(Container { id: "abc".into(), runtime: Runtime::CriO }),
                ..Surroundings::default()
            }),
            effects: Effects {
                removed: 2,
                removed_ids: vec![UniqueMountId(9)],
                revisions: Some((Revision(1), Revision(2))),
                ..Effects::default()
            },
        };
        let message = to_operation(&operation, 1);
        assert_eq!(message.errno, "EBUSY");
        assert_eq!(operation_of(message).unwrap(), operation);
    }

    #[test]
    fn what_no_agent_sends_is_refused() {
        let message = |id: u64, call: &str| v1::Operation {
            id,
            call: call.into(),
            task: Some(v1::Task::default()),
            ..v1::Operation::default()
        };
        assert!(operation_of(message(1, "mount")).is_ok());
        assert_eq!(operation_of(message(0, "mount")), Err(Malformed("operation.id")));
        assert_eq!(operation_of(message(1, "getppid")), Err(Malformed("operation.call")));
    }
}
