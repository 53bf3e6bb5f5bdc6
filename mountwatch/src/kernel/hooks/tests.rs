use super::*;

/// Functions that only some kernels have; every other one of the table exists on all.
const PARTIAL: &[(&str, &[&str])] = &[
    ("5.10", &["__attach_mnt"]),
    ("6.1", &["__attach_mnt", "__x64_sys_mount_setattr", "__ia32_sys_mount_setattr"]),
    (
        "7.3",
        &[
            "make_visible",
            "bulk_make_private",
            "__ns_tree_add_raw",
            "__ns_tree_remove",
            "__x64_sys_mount_setattr",
            "__ia32_sys_mount_setattr",
            "__x64_sys_open_tree_attr",
            "__ia32_sys_open_tree_attr",
        ],
    ),
];
const EVERYWHERE: &[&str] = &[
    "namespace_unlock",
    "copy_tree",
    "change_mnt_propagation",
    "mnt_release_group_id",
    "copy_mnt_ns",
    "free_mnt_ns",
    "mnt_warn_timestamp_expiry",
    "reconfigure_super",
    "__x64_sys_move_mount",
    "__ia32_sys_move_mount",
    "security_move_mount",
    "__d_move",
    "d_delete",
    "show_mountinfo",
];

fn features(kernel: &str) -> Features {
    let partial = PARTIAL.iter().find(|(name, _)| *name == kernel).unwrap().1;
    let functions: HashSet<_> = EVERYWHERE.iter().chain(partial).copied().collect();
    Features {
        offsets: [0; offset::COUNT],
        symbols: functions.clone(),
        functions,
        is_preemptible: kernel == "7.3",
        nop_idmap: 0,
    }
}

fn functions(plan: &Plan, hook: Hook) -> Vec<&'static str> {
    plan.steps
        .iter()
        .filter(|step| step.hook == hook)
        .flat_map(|step| &step.ways)
        .filter(|way| way.kind.is_trampoline())
        .map(|way| way.candidate.function)
        .collect()
}

#[test]
fn every_kernel_has_a_plan_without_holes() {
    for (kernel, _) in PARTIAL {
        let plan = plan(&features(kernel), &Wishes::default());
        assert!(plan.refused.is_empty(), "{kernel}: {:?}", plan.refused);
        assert_eq!(plan.blind, Vec::<String>::new(), "{kernel}");
    }
}

#[test]
fn the_newest_function_is_preferred() {
    let old = plan(&features("6.1"), &Wishes::default());
    assert_eq!(functions(&old, hook::ATTACH), ["__attach_mnt"]);
    assert_eq!(functions(&old, hook::NAMESPACE_BORN), ["copy_mnt_ns"]);
    assert_eq!(functions(&old, hook::BULK_PRIVATE), [""; 0]);
    let new = plan(&features("7.3"), &Wishes::default());
    assert_eq!(functions(&new, hook::ATTACH), ["make_visible"]);
    assert_eq!(functions(&new, hook::NAMESPACE_BORN), ["__ns_tree_add_raw", "copy_mnt_ns"]);
    assert_eq!(functions(&new, hook::BULK_PRIVATE), ["bulk_make_private"]);
}

#[test]
fn a_missing_function_is_a_refusal_a_sentence_or_nothing() {
    let mut features = features("5.10");
    for function in ["__attach_mnt", "copy_tree", "__d_move", "__ia32_sys_move_mount"] {
        features.functions.remove(function);
        features.symbols.remove(function);
    }
    let plan = plan(&features, &Wishes::default());
    assert_eq!(plan.refused, [hook::ATTACH, hook::COPY_TREE]);
    assert!(
        plan.blind
            .contains(&"a renamed directory keeps its old name in paths and roots".to_owned()),
        "{:?}",
        plan.blind
    );
}

#[test]
fn a_hook_left_out_is_left_out_whole_and_said_once() {
    let plan = plan(
        &features("7.3"),
        &Wishes { without: vec!["set_group".to_owned(), "commit".to_owned()], ..Wishes::default() },
    );
    assert_eq!(functions(&plan, hook::SET_GROUP), [""; 0]);
    assert_eq!(
        plan.blind,
        ["hook commit was left out by request", "hook set_group was left out by request"]
    );
    assert!(plan.refused.is_empty(), "{:?}", plan.refused);
}

#[test]
fn the_end_of_a_transaction_is_attached_before_what_it_ends() {
    let position = |hook| HOOKS.iter().position(|row| row.hook == hook);
    assert_eq!(position(hook::COMMIT), Some(0));
    for row in HOOKS {
        assert!(!row.candidates.is_empty() && !row.reason.is_empty());
    }
}

#[test]
fn a_probe_stands_in_for_a_trampoline() {
    let mut features = features("7.3");
    features.functions.remove("__d_move");
    let find =
        |plan: &Plan, hook| plan.steps.iter().find(|step| step.hook == hook).unwrap().ways.clone();
    let ways = find(&plan(&features, &Wishes::default()), hook::RENAME);
    let found: Vec<_> = ways.iter().map(|way| (way.kind, way.program())).collect();
    assert_eq!(found, [(Kind::Kretprobe, "rename_probe")]);
    let probes = Wishes { no_fentry: true, ..Wishes::default() };
    let probes = plan(&features, &probes);
    assert!(probes.steps.iter().flat_map(|step| &step.ways).all(|way| !way.kind.is_trampoline()));
    assert_eq!(probes.blind, Vec::<String>::new());
}

#[test]
fn spares_are_for_preemptible_kernels_and_for_hooks_without_a_lock() {
    let spared = |kernel| {
        let plan = plan(&features(kernel), &Wishes::default());
        plan.steps.iter().filter(|step| step.with_spare).count()
    };
    assert_eq!(spared("6.1"), 0);
    assert_eq!(spared("7.3"), HOOKS.iter().filter(|row| row.skipped.has_spare()).count());
}

#[test]
fn the_fallbacks_replace_a_hook_whose_function_is_inlined() {
    let mut features = features("7.3");
    features.functions.extend(["mnt_change_mountpoint", "security_sb_pivotroot"]);
    features.symbols.insert("attach_recursive_mnt.isra.0");
    let wishes = Wishes { fallback: vec!["attach".to_owned()], ..Wishes::default() };
    let asked_for = plan(&features, &wishes);
    features.functions.remove("make_visible");
    features.symbols.remove("make_visible");
    let needed = plan(&features, &Wishes::default());
    for plan in [asked_for, needed] {
        assert_eq!(
            functions(&plan, hook::ATTACH),
            ["copy_tree", "mnt_change_mountpoint", "security_sb_pivotroot"]
        );
        let probes: Vec<_> = plan
            .steps
            .iter()
            .flat_map(|step| &step.ways)
            .filter(|way| way.candidate.program == "attach_recursive")
            .map(Way::program)
            .collect();
        assert_eq!(probes, ["attach_recursive_probe"]);
        assert!(plan.refused.is_empty() && plan.blind.is_empty(), "{plan:?}");
    }
}

#[test]
fn calls_are_left_out_by_their_hooks() {
    let mut features = features("6.1");
    features.functions.insert("__x64_sys_mount");
    let without = OF_OPERATIONS.map(|hook| hook::name(hook).to_owned()).to_vec();
    let wishes = Wishes { without, ..Wishes::default() };
    let (without, with) = (plan(&features, &wishes), plan(&features, &Wishes::default()));
    assert!(without.calls.is_empty() && !with.calls.is_empty());
    assert_eq!(without.steps, with.steps);
    assert_eq!(without.unattributed.len(), OF_OPERATIONS.len());
    assert!(without.blind.is_empty());
}

#[test]
fn the_identity_mapping_is_found_by_its_whole_name() {
    let symbols = "0000000000000010 T nop_mnt_idmap_not\n\
                   ffffffff82a00000 D init_user_ns\n\
                   ffffffff82b00000 D nop_mnt_idmap\n\
                   ffffffffc0000000 d nop_mnt_idmap\t[module]\n";
    assert_eq!(nop_idmap(symbols), 0xffff_ffff_82b0_0000);
    assert_eq!(nop_idmap("ffffffff82a00000 D init_user_ns\n"), 0xffff_ffff_82a0_0000);
    assert_eq!(nop_idmap("0000000000000000 D nop_mnt_idmap\n"), 0);
    assert_eq!(nop_idmap("zz D nop_mnt_idmap\n\n x"), 0);
}
