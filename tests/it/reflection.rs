//! Server reflection as tools use it: lists of services and their descriptors, by both versions of the
//! protocol.

use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_reflection::pb::v1;
use tonic_reflection::pb::v1alpha;

fn with_header<T>(message: T, authorization: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(value) = authorization {
        let value = value.parse().expect("a header");
        request.metadata_mut().insert("authorization", value);
    }
    request
}

/// What reflection v1 answers to one question.
async fn ask_v1(
    channel: Channel,
    authorization: Option<&str>,
    question: v1::server_reflection_request::MessageRequest,
) -> Result<v1::server_reflection_response::MessageResponse, Status> {
    let request =
        v1::ServerReflectionRequest { host: String::new(), message_request: Some(question) };
    let asked = with_header(tokio_stream::once(request), authorization);
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel);
    let mut answers = client.server_reflection_info(asked).await?.into_inner();
    let answer = answers.message().await?.expect("an answer");
    Ok(answer.message_response.expect("a response"))
}

/// The services that reflection v1 lists.
pub async fn services_v1(
    channel: Channel,
    authorization: Option<&str>,
) -> Result<Vec<String>, Status> {
    use v1::server_reflection_request::MessageRequest;
    use v1::server_reflection_response::MessageResponse;
    let question = MessageRequest::ListServices(String::new());
    match ask_v1(channel, authorization, question).await? {
        MessageResponse::ListServicesResponse(list) => {
            Ok(list.service.into_iter().map(|service| service.name).collect())
        }
        other => panic!("{other:?}"),
    }
}

/// The services that reflection v1alpha lists.
pub async fn services_v1alpha(
    channel: Channel,
    authorization: Option<&str>,
) -> Result<Vec<String>, Status> {
    use v1alpha::server_reflection_request::MessageRequest;
    use v1alpha::server_reflection_response::MessageResponse;
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let asked = with_header(tokio_stream::once(request), authorization);
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let mut answers = client.server_reflection_info(asked).await?.into_inner();
    match answers.message().await?.expect("an answer").message_response.expect("a response") {
        MessageResponse::ListServicesResponse(list) => {
            Ok(list.service.into_iter().map(|service| service.name).collect())
        }
        other => panic!("{other:?}"),
    }
}

/// The descriptors of the file that a symbol is in, with all that it imports.
pub async fn descriptors(channel: Channel, symbol: &str) -> FileDescriptorSet {
    use v1::server_reflection_request::MessageRequest;
    use v1::server_reflection_response::MessageResponse;
    let mut set = FileDescriptorSet::default();
    let mut questions = vec![MessageRequest::FileContainingSymbol(symbol.to_owned())];
    while let Some(question) = questions.pop() {
        let answer = ask_v1(channel.clone(), None, question).await.expect("an answer");
        let MessageResponse::FileDescriptorResponse(files) = answer else { panic!("{answer:?}") };
        for bytes in files.file_descriptor_proto {
            let file = FileDescriptorProto::decode(&*bytes).expect("a descriptor");
            if set.file.iter().any(|known| known.name == file.name) {
                continue;
            }
            let imports = file.dependency.iter().cloned();
            questions.extend(imports.map(MessageRequest::FileByFilename));
            set.file.push(file);
        }
    }
    set
}
