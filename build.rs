//! Compiles `proto/` into the server's stubs and the descriptor that reflection serves.
//!
//! The stubs differ from the contract in one way that the wire does not show: wherever a message holds
//! an `Event`, the server's struct holds its encoded bytes. A nested message and a bytes field look the
//! same on the wire, so an event is encoded once, when it is stored, and every stream shares the bytes.

use std::path::PathBuf;

use prost::Message;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};

const FILES: &[&str] = &[
    "proto/tollgate/v1/admin_service.proto",
    "proto/tollgate/v1/event_service.proto",
    "proto/tollgate/v1/payment_service.proto",
    "proto/tollgate/v1/receipt_service.proto",
    "proto/tollgate/v1/subscription_service.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptor.bin"), descriptors.encode_to_vec())?;
    events_as_bytes(&mut descriptors);
    tonic_prost_build::configure()
        .build_client(false)
        .bytes(".tollgate.v1")
        .compile_fds(descriptors)?;
    Ok(())
}

fn events_as_bytes(descriptors: &mut FileDescriptorSet) {
    fn visit(message: &mut DescriptorProto) {
        for field in &mut message.field {
            if field.type_name() == ".tollgate.v1.Event" {
                field.set_type(Type::Bytes);
                field.type_name = None;
            }
        }
        message.nested_type.iter_mut().for_each(visit);
    }
    let messages = descriptors.file.iter_mut().flat_map(|file| file.message_type.iter_mut());
    messages.for_each(visit);
}
