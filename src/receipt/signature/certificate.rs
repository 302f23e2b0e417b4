//! Keys that come in a certificate of the public web: the chain in a provider's answer is checked up to
//! roots that are trusted here, at a given time, and for the name that the certificate must bear. In come
//! PEM texts, out comes the leaf's public key and nothing else. A key that did not pass every check never
//! leaves this module.

use std::time::Duration;

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Reader, SliceReader};
use jiff::Timestamp;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::public_key::PublicKey;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
/// A longer chain is none of the public web's.
const MAX_CERTIFICATES: usize = 10;

/// The public key of the first certificate in `chain`, if it leads to one of `roots` (the others in
/// `chain` may stand between), is valid at `now`, and has one common name, which ends in `name_suffix`.
pub fn trusted_key(
    chain: &[u8],
    roots: &[u8],
    name_suffix: &str,
    now: Timestamp,
) -> Option<PublicKey> {
    let certificates = certificates(chain)?;
    let (leaf, between) = certificates.split_first()?;
    let roots = self::certificates(roots)?;
    let anchors = roots.iter().map(anchor_from_trusted_cert).collect::<Result<Vec<_>, _>>().ok()?;
    let leaf = EndEntityCert::try_from(leaf).ok()?;
    let now = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.as_second()).ok()?));
    is_issued(&leaf, between, &anchors, now).then_some(())?;
    let name = common_name(leaf.subject())?;
    let is_host = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    (is_host && !name_suffix.is_empty() && name.ends_with(name_suffix)).then_some(())?;
    PublicKey::from_spki(&leaf.subject_public_key_info())
}

/// Whether a text is PEM that can serve as `roots`.
pub fn are_roots(pem: &[u8]) -> bool {
    certificates(pem).is_some_and(|certificates| {
        certificates.iter().all(|certificate| anchor_from_trusted_cert(certificate).is_ok())
    })
}

fn is_issued(
    leaf: &EndEntityCert<'_>,
    between: &[CertificateDer<'_>],
    anchors: &[TrustAnchor<'_>],
    now: UnixTime,
) -> bool {
    let usage = KeyUsage::server_auth();
    leaf.verify_for_usage(ALL_VERIFICATION_ALGS, anchors, between, now, usage, None, None).is_ok()
}

/// `None` where there is none, there are too many, or one cannot be read.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
        .take(MAX_CERTIFICATES + 1)
        .collect::<Result<_, _>>()
        .ok()?;
    (1..=MAX_CERTIFICATES).contains(&certificates.len()).then_some(certificates)
}

/// The common name in the content of a distinguished name; `None` where there is not exactly one.
fn common_name(subject: &[u8]) -> Option<String> {
    let mut found = None;
    for set in elements(subject)? {
        for attribute in elements(set.value())? {
            let [kind, value] = elements(attribute.value())?[..] else { return None };
            let is_name =
                kind.decode_as::<ObjectIdentifier>().is_ok_and(|kind| kind == COMMON_NAME);
            if is_name && found.replace(std::str::from_utf8(value.value()).ok()?).is_some() {
                return None;
            }
        }
    }
    found.map(str::to_owned)
}

/// The elements of a constructed value.
fn elements(content: &[u8]) -> Option<Vec<AnyRef<'_>>> {
    let mut reader = SliceReader::new(content).ok()?;
    let mut elements = Vec::new();
    while !reader.is_finished() {
        elements.push(AnyRef::decode(&mut reader).ok()?);
    }
    Some(elements)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd,
    };

    const SUFFIX: &str = ".paypal.com";

    struct Authority {
        pem: String,
        issuer: Issuer<'static, KeyPair>,
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, "Sample");
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2027, 1, 1);
        params
    }

    fn authority_params(name: &str) -> CertificateParams {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    fn root(name: &str) -> Authority {
        let (params, key) = (authority_params(name), KeyPair::generate().expect("a key"));
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    fn leaf(authority: &Authority, name: &str) -> String {
        let key = KeyPair::generate().expect("a key");
        params(name).signed_by(&key, &authority.issuer).expect("a certificate").pem()
    }

    fn is_trusted(chain: &str, roots: &str, at: &str) -> bool {
        let now = at.parse().expect("a time");
        trusted_key(chain.as_bytes(), roots.as_bytes(), SUFFIX, now).is_some()
    }

    #[test]
    fn only_an_issued_valid_and_rightly_named_certificate_gives_its_key() {
        const NOW: &str = "2026-06-01T00:00:00Z";
        let (own, other) = (root("Own"), root("Other"));
        let good = leaf(&own, "certs.paypal.com");
        assert!(is_trusted(&good, &own.pem, NOW));
        assert!(!is_trusted(&good, &other.pem, NOW), "another root");
        assert!(is_trusted(&good, &format!("{}{}", other.pem, own.pem), NOW), "either root");
        assert!(!is_trusted(&good, &own.pem, "2027-06-01T00:00:00Z"), "expired");
        assert!(!is_trusted(&good, &own.pem, "2025-06-01T00:00:00Z"), "not valid yet");
        for name in
            ["certs.paypal.com.example", "certspaypal.com", "", "x\0.paypal.com", "*.paypal.com"]
        {
            assert!(!is_trusted(&leaf(&own, name), &own.pem, NOW), "{name}");
        }
        for broken in
            ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &own.pem]
        {
            assert!(!is_trusted(broken, &own.pem, NOW), "{broken}");
            assert!(!is_trusted(&good, broken, NOW) || broken == own.pem, "{broken}");
        }
    }

    #[test]
    fn certificates_between_leaf_and_root_come_with_the_leaf() {
        const NOW: &str = "2026-06-01T00:00:00Z";
        let own = root("Own");
        let (params, key) = (authority_params("Between"), KeyPair::generate().expect("a key"));
        let pem = params.signed_by(&key, &own.issuer).expect("a certificate").pem();
        let between = Authority { pem, issuer: Issuer::new(params, key) };
        let good = leaf(&between, "certs.paypal.com");
        assert!(!is_trusted(&good, &own.pem, NOW));
        assert!(is_trusted(&format!("{good}{}", between.pem), &own.pem, NOW));
        let other_key = KeyPair::generate().expect("a key");
        let issuer = Issuer::new(authority_params("Between"), other_key);
        let impostor = Authority { pem: String::new(), issuer };
        let forged = leaf(&impostor, "certs.paypal.com");
        assert!(!is_trusted(&format!("{forged}{}", between.pem), &own.pem, NOW));
    }
}
