//! Images without a registry: an OCI archive of static programs.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use object::elf::{FileHeader64, PT_INTERP};
use object::read::elf::{FileHeader, ProgramHeader};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// User and group of the programs in the container.
const USER: &str = "65532:65532";

/// Writes an OCI image archive that holds each program at `/NAME`, and is imported under the image name given.
///
/// Without `entrypoint` the first program itself is what a container runs.
pub(crate) fn write_archive(image: &str, programs: &[&Path], entrypoint: &[String], archive: impl Write) -> Result<()> {
    check_name(image)?;
    let mut layer = tar::Builder::new(Vec::new());
    let mut first = None;
    for program in programs {
        let content = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
        let architecture = static_architecture(&content).with_context(|| {
            format!(
                "{} cannot be in an image: build it for Linux as a static program \
                 (Rust: -C target-feature=+crt-static, Go: CGO_ENABLED=0)",
                program.display()
            )
        })?;
        let file = program
            .file_name()
            .and_then(|name| name.to_str())
            .with_context(|| format!("{} has no usable file name", program.display()))?;
        append(&mut layer, file, 0o755, &content)?;
        let (_, expected) = first.get_or_insert_with(|| (format!("/{file}"), architecture));
        ensure!(*expected == architecture, "{} is for {architecture}, others for {expected}", program.display());
    }
    let (own_entrypoint, architecture) = first.context("an image needs a program")?;
    let own_entrypoint = [own_entrypoint];
    let entrypoint = if entrypoint.is_empty() { &own_entrypoint } else { entrypoint };
    let layer = layer.into_inner().context("cannot finish the layer")?;
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"User": USER, "Entrypoint": entrypoint, "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    });
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["platform"] = json!({"architecture": architecture, "os": "linux"});
    entry["annotations"] = json!({"io.containerd.image.name": image});
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [entry],
    });

    let mut archive = tar::Builder::new(archive);
    append(&mut archive, "oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    append(&mut archive, "index.json", 0o644, index.to_string().as_bytes())?;
    for blob in [&layer, &config, &manifest] {
        append(&mut archive, &format!("blobs/sha256/{}", hash(blob)), 0o644, blob)?;
    }
    archive.finish().context("cannot finish the image archive")
}

/// containerd takes names with a domain and a tag only, as the kubelet asks for them.
fn check_name(image: &str) -> Result<()> {
    let complete = image.split_once('/').is_some_and(|(domain, path)| {
        (domain.contains('.') || domain.contains(':') || domain == "localhost")
            && path.split_once(':').is_some_and(|(name, tag)| !name.is_empty() && !tag.is_empty())
    });
    ensure!(
        complete,
        "`{image}` is not a full image name: give a domain and a tag, as in leadergroup.test/operator:dev"
    );
    Ok(())
}

/// The architecture of a static Linux program, in OCI's words.
fn static_architecture(program: &[u8]) -> Result<&'static str> {
    let header = FileHeader64::<object::Endianness>::parse(program).context("it is not a 64-bit ELF program")?;
    let endian = header.endian().context("its byte order is unknown")?;
    let segments = header.program_headers(endian, program).context("its program headers are broken")?;
    ensure!(segments.iter().all(|segment| segment.p_type(endian) != PT_INTERP), "it needs a dynamic linker");
    match header.e_machine(endian) {
        object::elf::EM_X86_64 => Ok("amd64"),
        object::elf::EM_AARCH64 => Ok("arm64"),
        machine => anyhow::bail!("its machine type {machine} is neither x86-64 nor arm64"),
    }
}

fn append(archive: &mut tar::Builder<impl Write>, path: &str, mode: u32, content: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    header.set_mtime(0);
    archive.append_data(&mut header, path, content).with_context(|| format!("cannot write {path} to an archive"))
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(content), "size": content.len()})
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hash(content))
}

fn hash(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use super::*;

    /// The shortest ELF file that is a program: a header, and one program header of the type given.
    fn program(segment: u32) -> Vec<u8> {
        let mut file = vec![0; 64 + 56];
        file[..7].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1]);
        file[16] = 2; // an executable
        file[18] = 62; // for x86-64
        file[20] = 1;
        file[32] = 64; // the program headers follow the header
        file[52] = 64;
        file[54] = 56; // bytes each
        file[56] = 1; // there is one
        file[64..68].copy_from_slice(&segment.to_le_bytes());
        file
    }

    fn read_archive(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(bytes).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(path, content);
        }
        files
    }

    #[test]
    fn the_archive_is_consistent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tool");
        fs::write(&path, program(1)).unwrap();
        let mut archive = Vec::new();
        let second = folder.path().join("second");
        fs::write(&second, program(1)).unwrap();
        write_archive("leadergroup.test/tool:dev", &[&path, &second], &[], &mut archive).unwrap();

        let files = read_archive(&archive);
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
            let content = &files[&format!("blobs/sha256/{digest}")];
            assert_eq!(hash(content), digest);
            assert_eq!(descriptor["size"], content.len());
            content
        };
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let entry = &index["manifests"][0];
        assert_eq!(entry["annotations"]["io.containerd.image.name"], "leadergroup.test/tool:dev");
        let manifest: Value = serde_json::from_slice(blob(entry)).unwrap();
        let config: Value = serde_json::from_slice(blob(&manifest["config"])).unwrap();
        assert_eq!(config["config"]["Entrypoint"], json!(["/tool"]));
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
        let layer = read_archive(blob(&manifest["layers"][0]));
        assert_eq!((&layer["tool"], &layer["second"]), (&program(1), &program(1)));
        assert!(write_archive("leadergroup.test/tool:dev", &[], &[], Vec::new()).is_err());
    }

    #[test]
    fn only_a_static_program_becomes_an_image() {
        assert_eq!(static_architecture(&program(1)).unwrap(), "amd64");
        let error = static_architecture(&program(PT_INTERP.0)).unwrap_err().to_string();
        assert!(error.contains("dynamic linker"), "{error}");
        assert!(static_architecture(b"#!/bin/sh\n").is_err());
    }

    #[test]
    fn an_image_name_is_complete() {
        check_name("leadergroup.test/a/b:dev").unwrap();
        check_name("localhost:5000/a:1").unwrap();
        for name in ["operator:dev", "library/operator:dev", "leadergroup.test/operator", "leadergroup.test/:x"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
