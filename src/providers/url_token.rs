//! A secret in the query of the URL that a system calls, for systems that sign nothing. In come the
//! request and the secrets that may match, out comes a proof. A parameter that stands twice has no one
//! value and is refused; the parameters that carry secrets must be declared in `Provider::redaction`.

use percent_encoding::percent_decode_str;

use crate::receipt::signature::{Candidates, shared_token};
use crate::receipt::{Proof, Request, VerifyError};

/// Whether the query parameter of this name carries the secret.
pub fn verify(
    request: &Request,
    parameter: &str,
    candidates: Candidates<'_>,
) -> Result<Proof, VerifyError> {
    let given = value(request, parameter).ok_or(VerifyError::Mismatch(candidates.name))?;
    // Whoever pastes a secret into a URL may mean its `+` as it stands.
    let plain = percent_decode_str(given).decode_utf8_lossy();
    let form = given.replace('+', " ");
    let form = percent_decode_str(&form).decode_utf8_lossy();
    shared_token(candidates, &plain).or_else(|_| shared_token(candidates, &form))
}

/// The value as it stands of a parameter that stands exactly once.
fn value<'a>(request: &'a Request, parameter: &str) -> Option<&'a str> {
    let (_, query) = request.path.split_once('?')?;
    let mut values = query.split('&').filter_map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let name = name.replace('+', " ");
        (percent_decode_str(&name).decode_utf8_lossy() == parameter).then_some(value)
    });
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, Method};
    use secrecy::SecretString;

    fn is_proved(path: &str, secret: &str) -> bool {
        let request = Request {
            method: Method::POST,
            path: path.to_owned(),
            headers: HeaderMap::new(),
            body: bytes::Bytes::new(),
        };
        let secrets = [SecretString::from("old"), SecretString::from(secret)];
        verify(&request, "k", Candidates { name: "url_token", secrets: &secrets }).is_ok()
    }

    #[test]
    fn the_secret_stands_once_and_whole() {
        assert!(is_proved("/a?b=1&k=s3cret", "s3cret") && is_proved("/a?k=old", "s3cret"));
        assert!(is_proved("/a?%6B=a%20b%2Fc%2B1", "a b/c+1"));
        assert!(is_proved("/a?k=a+b%2B1", "a b+1") && is_proved("/a?k=a+b", "a+b"));
        for path in [
            "/a",
            "/a?",
            "/a?k",
            "/a?k=",
            "/a?k=s3cre",
            "/a?k=S3CRET",
            "/a?kk=s3cret",
            "/a?k=s3cret&k=s3cret",
            "/a?k=s3cret&%6b=x",
            "/k=s3cret",
        ] {
            assert!(!is_proved(path, "s3cret"), "{path}");
        }
    }
}
