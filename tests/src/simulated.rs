//! A simulated kernel, and the real core of mountwatch on top of it.

mod attach;
mod audit;
mod copy;
mod descriptors;
mod directory;
mod driver;
mod execute;
mod hooks;
mod kernel;
mod lookup;
mod namespaces;
mod pnode;
mod read;
mod records;
mod ring;
mod show;
mod supers;
mod tree;
mod umount;
mod world;
