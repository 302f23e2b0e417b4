//! Signatures that a provider makes with a private key: RSA and ECDSA, by keys from configuration or from
//! the provider. In come a message, a signature and a public key, out comes a `Proof`. Signatures are of
//! one exact form each, and a key of another kind never fits.

use der::Decode;
use der::asn1::ObjectIdentifier;
use p521::ecdsa::signature::Verifier;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use spki::SubjectPublicKeyInfoRef;

use super::jws::Jwk;
use super::{Proof, VerifyError};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ELLIPTIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const P256_BYTES: usize = 32;
const P521_BYTES: usize = 66;
/// The first byte of a point with both coordinates.
const UNCOMPRESSED: u8 = 4;

/// How a message is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// RSASSA-PKCS1-v1_5 with SHA-256: RS256.
    RsaPkcs1Sha256,
    /// RSASSA-PSS with SHA-256, MGF1 of it and a salt of 32 bytes: PS256.
    RsaPssSha256,
    /// ECDSA on P-256 with SHA-256, r and s of 32 bytes each: ES256.
    EcdsaP256,
    /// ECDSA on P-521 with SHA-512, r and s of 66 bytes each: ES512.
    EcdsaP521,
}

/// A provider's public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// RSA of 2048 to 8192 bits.
    Rsa {
        /// The modulus, big endian.
        modulus: Vec<u8>,
        /// The exponent, big endian.
        exponent: Vec<u8>,
    },
    /// A point on P-256, uncompressed.
    P256(Vec<u8>),
    /// A point on P-521, uncompressed.
    P521(Vec<u8>),
}

impl PublicKey {
    /// Reads `-----BEGIN PUBLIC KEY-----`.
    pub fn from_pem(text: &str) -> Option<PublicKey> {
        let info = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes()).ok()?;
        PublicKey::from_spki(&info)
    }

    /// Reads a SubjectPublicKeyInfo.
    pub fn from_spki(der: &[u8]) -> Option<PublicKey> {
        let info = SubjectPublicKeyInfoRef::from_der(der).ok()?;
        let bytes = info.subject_public_key.as_bytes()?;
        if info.algorithm.oid == RSA {
            let key = RsaKey::from_der(bytes).ok()?;
            return Some(PublicKey::Rsa {
                modulus: key.modulus.as_bytes().to_vec(),
                exponent: key.exponent.as_bytes().to_vec(),
            });
        }
        let curve: ObjectIdentifier = info.algorithm.parameters?.decode_as().ok()?;
        match info.algorithm.oid == ELLIPTIC {
            true if curve == P256 => Some(PublicKey::P256(bytes.to_vec())),
            true if curve == P521 => Some(PublicKey::P521(bytes.to_vec())),
            _ => None,
        }
    }

    /// Reads a JSON Web Key. Coordinates may come without leading zeros.
    pub fn from_jwk(key: &Jwk) -> Option<PublicKey> {
        match (key.kty.as_str(), key.crv.as_str()) {
            ("RSA", _) => Some(PublicKey::Rsa {
                modulus: without_zeros(key.n.decoded()?),
                exponent: without_zeros(key.e.decoded()?),
            }),
            ("EC", "P-256") => {
                point(key.x.decoded()?, key.y.decoded()?, P256_BYTES).map(PublicKey::P256)
            }
            ("EC", "P-521") => {
                point(key.x.decoded()?, key.y.decoded()?, P521_BYTES).map(PublicKey::P521)
            }
            _ => None,
        }
    }

    fn verifies(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
        match (self, scheme) {
            (PublicKey::Rsa { modulus, exponent }, Scheme::RsaPkcs1Sha256) => {
                RsaPublicKeyComponents { n: modulus, e: exponent }
                    .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                    .is_ok()
            }
            (PublicKey::Rsa { modulus, exponent }, Scheme::RsaPssSha256) => {
                RsaPublicKeyComponents { n: modulus, e: exponent }
                    .verify(&RSA_PSS_2048_8192_SHA256, message, signature)
                    .is_ok()
            }
            (PublicKey::P256(point), Scheme::EcdsaP256) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                    .verify(message, signature)
                    .is_ok()
            }
            (PublicKey::P521(point), Scheme::EcdsaP521) => {
                let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(point);
                let signature = p521::ecdsa::Signature::from_slice(signature);
                key.and_then(|key| key.verify(message, &signature?)).is_ok()
            }
            (PublicKey::Rsa { .. } | PublicKey::P256(_) | PublicKey::P521(_), _) => false,
        }
    }
}

/// A message that this key signed. `name` is what the key is called in the proof, `id` tells which one.
pub fn signed_by(
    name: &'static str,
    id: &str,
    key: &PublicKey,
    scheme: Scheme,
    message: &[u8],
    signature: &[u8],
) -> Result<Proof, VerifyError> {
    match key.verifies(scheme, message, signature) {
        true => Ok(Proof { verified_by: format!("{name}[{id}]") }),
        false => Err(VerifyError::Mismatch(name)),
    }
}

/// RSAPublicKey of PKCS #1.
#[derive(der::Sequence)]
struct RsaKey<'a> {
    modulus: der::asn1::UintRef<'a>,
    exponent: der::asn1::UintRef<'a>,
}

fn without_zeros(bytes: Vec<u8>) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes[zeros..].to_vec()
}

fn point(x: Vec<u8>, y: Vec<u8>, bytes: usize) -> Option<Vec<u8>> {
    let mut point = vec![UNCOMPRESSED];
    for coordinate in [x, y] {
        let coordinate = without_zeros(coordinate);
        point.extend(std::iter::repeat_n(0, bytes.checked_sub(coordinate.len())?));
        point.extend(coordinate);
    }
    Some(point)
}
