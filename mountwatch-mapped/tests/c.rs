//! The C header and its example: compiled with all warnings, run against a table, compared with Rust.

use mountwatch_mapped::layout::COVERAGE_COMPLETE;
use mountwatch_mapped::protocol::{REQUEST_BYTES, Reply, Request, Status};
use mountwatch_mapped::toy::{ROOT, Toy};
use mountwatch_mapped::writer::{Footing, Identity, Room, Touched, Writer};
use mountwatch_mapped::{Binds, Reader, monotonic_ns, receive_some, send};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

const CRATE: &str = env!("CARGO_MANIFEST_DIR");

/// The example, compiled.
fn compile() -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mapped_c");
    let output = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".into()))
        .args(["-std=c11", "-O2", "-Wall", "-Wextra", "-Werror"])
        .arg(format!("-I{CRATE}/include"))
        .arg("-o")
        .arg(&program)
        .arg(format!("{CRATE}/examples/mapped.c"))
        .output()
        .expect("a C compiler");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

fn world() -> (Toy, Vec<String>) {
    let mut toy = Toy::new(b"size=1k");
    let mut paths = vec!["/".to_owned(), "/nothing".to_owned(), "/a/../b".to_owned()];
    for number in 0..40 {
        let long = "l".repeat(number * 5);
        let path = format!("/var/{}/{long}x/{number}", number % 4);
        let place = toy.path(ROOT, &path);
        let mount = toy.mount_on(ROOT, place);
        let inner = toy.path(mount, "/in/side");
        toy.mount_on(mount, inner);
        if number % 5 == 0 {
            let root = toy.root(mount);
            let top = toy.mount_on(mount, root);
            let inner = toy.path(top, "/on/top");
            toy.mount_on(top, inner);
        }
        paths.push(format!("{path}/in/side"));
        paths.push(format!("{path}/in/"));
        paths.push(format!("/var/{}", number % 4));
        paths.push(format!("{path}//on/./top/x"));
        paths.push(path);
    }
    (toy, paths)
}

#[test]
fn c_answers_as_rust_does() {
    let program = compile();
    let (toy, paths) = world();
    let identity =
        Identity { inode: 1, id: None, seed: 99, epoch: 1, fresh_max_ns: 60_000_000_000 };
    let mut writer = Writer::create(&identity, Room::for_mounts(200)).unwrap();
    let footing = Footing {
        revision: 77,
        coverage: COVERAGE_COMPLETE,
        sentences: &[],
        view: Some((ROOT, toy.root(ROOT))),
    };
    let touched = Touched { mounts: toy.mounts(), ..Touched::default() };
    writer.apply(&toy, &touched, &footing).unwrap();
    let writer = Arc::new(Mutex::new(writer));
    let socket = std::env::temp_dir().join(format!("mountwatch-c-{}.sock", std::process::id()));
    let listener = UnixListener::bind(&socket).unwrap();
    let served = Arc::clone(&writer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let mut request = [0; REQUEST_BYTES];
            let (_, namespace) = receive_some(&stream, &mut request).unwrap();
            assert_eq!(Request::parse(&request), Some(Request::Own));
            assert!(namespace.is_some(), "the descriptor of its namespace");
            let writer = served.lock().unwrap();
            writer.fresh(monotonic_ns());
            let reply = Reply { status: Status::Done, view: 0, fresh_ns: 0 };
            send(&stream, &reply.bytes(), Some(writer.file().as_fd())).unwrap();
        }
    });
    let c = |question: &str, path: &str| -> String {
        let output = Command::new(&program).arg(&socket).args([question, path]).output().unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let reader = Reader::open(writer.lock().unwrap().file()).unwrap();
    let begun = "revision 77 coverage 1\n";
    let lines = |ids: Vec<u32>| ids.iter().map(|id| id.to_string() + "\n").collect::<String>();
    for path in paths.iter().step_by(7).chain(&paths[..3]) {
        writer.lock().unwrap().fresh(monotonic_ns());
        let bytes = path.as_bytes();
        let Ok(is_point) = reader.is_mount_point(bytes, Binds::Count) else {
            assert_eq!(c("point", path), "the table gives error -1\n", "{path}");
            continue;
        };
        assert_eq!(c("point", path), format!("{} {begun}", u8::from(is_point.value)), "{path}");
        let mut below = reader.ids_below(bytes).unwrap().value;
        below.sort_unstable();
        let expected = format!("{} {begun}{}", below.len(), lines(below));
        assert_eq!(c("below", path), expected, "{path}");
        let covering = reader.covering_id(bytes).unwrap().value.unwrap();
        assert_eq!(c("covering", path), format!("1 {begun}{covering}\n"), "{path}");
    }
    writer.lock().unwrap().leave(mountwatch_mapped::layout::STATE_CLOSED);
    assert_eq!(c("point", "/"), "the table gives error -4\n");
    std::fs::remove_file(&socket).unwrap();
}
