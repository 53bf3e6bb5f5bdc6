//! Attaches something else in place of a hook that does not fire.

use super::attach::{attach_step, take_off};
use super::{Hooks, hint};
use crate::kernel::hooks::fallback;
use hashbrown::HashSet;
use mountwatch_common::hook::{self, Hook};

impl Hooks {
    /// Attaches what this kernel has in place of a hook; the functions' names. A program that is
    /// attached elsewhere is taken from there: where it is now it does not fire.
    pub fn switch_on(&mut self, hook: Hook) -> Vec<&'static str> {
        let Ok(btf) = aya::Btf::from_sys_fs() else { return Vec::new() };
        let attached: HashSet<_> = self
            .attached
            .iter()
            .filter(|attached| attached.hook == hook)
            .map(|attached| attached.function)
            .collect();
        let mut switched = Vec::new();
        for step in fallback::others(&self.features, hook, &attached, self.no_fentry) {
            for way in &step.ways {
                take_off(&mut self.ebpf, way.program());
            }
            match attach_step(&mut self.ebpf, &btf, &step) {
                Ok(done) => {
                    self.attached.retain(|other| other.program != done.program);
                    switched.push(done.function);
                    self.attached.push(done);
                }
                Err(refusal) => {
                    let (way, error) = *refusal;
                    log::warn!(
                        "{} cannot take the place of hook {}: {}",
                        way.candidate.function,
                        hook::name(hook),
                        hint(&error)
                    );
                }
            }
        }
        switched
    }

    /// Lets the kernel side forget everything that it told.
    pub fn forget_all(&mut self) {
        let told: Vec<u64> = self.told.keys().filter_map(Result::ok).collect();
        self.forget(&told);
    }
}
