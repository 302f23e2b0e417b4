//! Compiles `proto/` into the client's messages and stubs. The crate's own tests also need server stubs,
//! for a gateway of their own: these are generated beside, over the same messages, and only the tests
//! include them. It must never read anything but `proto/`.

use std::{env, error::Error, fs, path::PathBuf};

const PROTO: &str = "../../proto";
const PACKAGE: &str = "tollgate/v1";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PROTO}");
    let mut files = Vec::new();
    for entry in fs::read_dir(format!("{PROTO}/{PACKAGE}"))? {
        files.push(entry?.path());
    }
    files.sort();
    let descriptors = protox::compile(files, [PROTO])?;

    tonic_prost_build::configure().build_server(false).compile_fds(descriptors.clone())?;

    let server = PathBuf::from(env::var("OUT_DIR")?).join("server");
    fs::create_dir_all(&server)?;
    tonic_prost_build::configure()
        .build_client(false)
        .generate_default_stubs(true)
        .extern_path(".tollgate.v1", "::tollgate_client::proto")
        .out_dir(server)
        .compile_fds(descriptors)?;
    Ok(())
}
