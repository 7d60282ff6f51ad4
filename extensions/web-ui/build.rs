//! Makes a table of the files of the console, each compressed beforehand: an instance has no time to do it, and the table is the list of what can
//! be asked for.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

fn main() {
    let ui = Path::new("ui");
    println!("cargo::rerun-if-changed=ui");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let mut files = BTreeMap::new();
    collect(ui, ui, &mut files);
    let mut table = String::from("&[\n");
    for (n, (name, content)) in files.iter().enumerate() {
        // Named as from beside the table, so that a checkout that is moved goes on to build.
        let (plain, packed) = (format!("{n}.txt"), format!("{n}.gz"));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).expect("memory takes everything");
        let compressed = encoder.finish().expect("memory takes everything");
        for (file, bytes) in [(&plain, content), (&packed, &compressed)] {
            fs::write(out.join(file), bytes).expect("the build's folder can be written");
        }
        let mut tag = DefaultHasher::new();
        content.hash(&mut tag);
        let tag = tag.finish();
        table.push_str(&format!(
            "    File {{ name: {name:?}, tag: \"\\\"{tag:016x}\\\"\", plain: include_bytes!({plain:?}), packed: include_bytes!({packed:?}) }},\n"
        ));
    }
    table.push_str("]\n");
    fs::write(out.join("files.rs"), table).expect("the build's folder can be written");
}

fn collect(root: &Path, folder: &Path, into: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("the console's files are here") {
        let path = entry.expect("the console's files can be listed").path();
        if path.is_dir() {
            collect(root, &path, into);
        } else {
            let name = path.strip_prefix(root).expect("it is inside").to_str().expect("names are plain").replace('\\', "/");
            into.insert(name, fs::read(&path).expect("the console's files can be read"));
        }
    }
}
