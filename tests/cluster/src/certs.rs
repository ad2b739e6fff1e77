//! The cluster's certificates: one authority, serving certificates that are no authorities themselves (some clients refuse
//! those), and a client certificate for each component.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

use crate::layout::Layout;

/// The certificate authority of one cluster.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, both PEM.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// The files of an [`Identity`].
#[derive(Debug, Clone)]
pub(crate) struct IdentityFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name("leadergroup-cluster", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().context("cannot generate the authority's key")?;
        let issuer = CertifiedIssuer::self_signed(params, key).context("cannot sign the authority's certificate")?;
        Ok(Self { issuer })
    }

    /// The authority's certificate, PEM.
    pub(crate) fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// The authority's key, PEM.
    pub(crate) fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A serving certificate for host names and IP addresses.
    pub(crate) fn server(&self, common_name: &str, addresses: &[&str]) -> Result<Identity> {
        let addresses: Vec<String> = addresses.iter().copied().map(str::to_owned).collect();
        let mut params = CertificateParams::new(addresses).context("cannot name a server")?;
        params.distinguished_name = name(common_name, None);
        self.leaf(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client certificate: the API server takes the user from the common name and the group from the organization.
    pub(crate) fn client(&self, user: &str, group: Option<&str>) -> Result<Identity> {
        let mut params = CertificateParams::default();
        params.distinguished_name = name(user, group);
        self.leaf(params, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn leaf(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Result<Identity> {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().context("cannot generate a key")?;
        let certificate = params.signed_by(&key, &*self.issuer).context("cannot sign a certificate")?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn name(common_name: &str, organization: Option<&str>) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    if let Some(organization) = organization {
        name.push(DnType::OrganizationName, organization);
    }
    name
}

impl Identity {
    /// Writes `NAME.crt` and `NAME.key`.
    pub(crate) fn write(&self, layout: &Layout, file: &str) -> Result<IdentityFiles> {
        let files =
            IdentityFiles { certificate: layout.pki(&format!("{file}.crt")), key: layout.pki(&format!("{file}.key")) };
        write_file(&files.certificate, &self.certificate)?;
        write_secret(&files.key, &self.key)?;
        Ok(files)
    }
}

/// The key pair that signs service account tokens; returns the files of the private and the public key.
pub(crate) fn write_token_keys(layout: &Layout) -> Result<(PathBuf, PathBuf)> {
    let key = KeyPair::generate().context("cannot generate the service account key")?;
    let private = layout.pki("service-account.key");
    let public = layout.pki("service-account.pub");
    write_secret(&private, &key.serialize_pem())?;
    write_file(&public, &key.public_key_pem())?;
    Ok((private, public))
}

/// Writes a file.
pub(crate) fn write_file(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a file that only its owner may read.
pub(crate) fn write_secret(path: &Path, content: &str) -> Result<()> {
    // A file that exists would keep its mode.
    let _ = fs::remove_file(path);
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_for_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path()).unwrap();
        layout.create().unwrap();
        let authority = Authority::new().unwrap();
        let files = authority.client("someone", Some("system:masters")).unwrap().write(&layout, "someone").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&files.key), 0o600);
        let (private, public) = write_token_keys(&layout).unwrap();
        assert_eq!(mode(&private), 0o600);
        assert!(fs::read_to_string(public).unwrap().contains("BEGIN PUBLIC KEY"));
    }
}
