//! From the files of the command line to what is worked with: each configuration with the CRM that it leads
//! to, all of one process sharing their orgs. A mistake is told with its file, key and reason.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};

use crate::config::Config;
use crate::crm::Crm;
use crate::crms::Kind;
use crate::orgs::Orgs;

/// The file of the commands that take one.
#[derive(clap::Args, Debug)]
pub struct OneFile {
    /// The connector's configuration; CRM.toml if not set
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// A configuration and the CRM that it leads to.
pub struct Target {
    /// The file's name without its ending.
    pub name: String,
    /// What stands in it.
    pub config: Arc<Config>,
    /// Where it is written; nothing was asked of it yet.
    pub crm: Arc<dyn Crm>,
}

impl OneFile {
    /// Reads it.
    pub fn open(&self, kind: &'static Kind) -> anyhow::Result<Target> {
        let path = self.config.clone().unwrap_or_else(|| default(kind));
        open(kind, &path, &Orgs::default())
    }
}

/// Reads several, which share their orgs; the default one if none is named.
pub fn open_all(kind: &'static Kind, paths: &[PathBuf]) -> anyhow::Result<Vec<Target>> {
    let paths = if paths.is_empty() { vec![default(kind)] } else { paths.to_vec() };
    let orgs = Orgs::default();
    let targets = paths.iter().map(|path| open(kind, path, &orgs));
    let targets: Vec<Target> = targets.collect::<anyhow::Result<_>>()?;
    let mut names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        bail!(
            "two configurations are called `{}`, and metrics could not tell them apart",
            twice[0]
        );
    }
    Ok(targets)
}

fn open(kind: &'static Kind, path: &Path, orgs: &Orgs) -> anyhow::Result<Target> {
    let shown = path.display();
    if !path.exists() {
        let name = kind.name;
        bail!(
            "there is no {shown}; `tollgate-connect {name} init > {shown}` makes one to begin with"
        );
    }
    let config = Config::read(path, kind).with_context(|| format!("{shown} is refused"))?;
    let opened = (kind.open)(config.crm.clone(), orgs);
    let crm = opened.with_context(|| format!("{shown} is refused"))?;
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    Ok(Target { name: name.unwrap_or_else(|| kind.name.to_owned()), config: Arc::new(config), crm })
}

fn default(kind: &Kind) -> PathBuf {
    format!("{}.toml", kind.name).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shelf::{KIND, Shelf};

    const OPEN: Kind = Kind { open: |_, _| Ok(Arc::new(Shelf::default())), ..KIND };
    const TEXT: &str = "[gateway]\naddress = \"http://127.0.0.1:1\"\nsubscription = \"crm\"\n[crm]\n\
        [[objects]]\nobject = \"deals\"\nmatch = [{ field = \"a\", from = \"subject\" }]\nfields.b = \
        \"status\"\n";

    #[test]
    fn files_are_read_and_mistakes_told_with_their_file() {
        static KIND: Kind = OPEN;
        let folder = tempfile::tempdir().expect("a folder");
        let right = folder.path().join("eu.toml");
        std::fs::write(&right, TEXT).expect("written");
        let targets = open_all(&KIND, std::slice::from_ref(&right)).expect("read");
        assert_eq!(targets[0].name, "eu");

        let twice = open_all(&KIND, &[right.clone(), right]).err().expect("twice").to_string();
        assert!(twice.contains("`eu`"), "{twice}");
        let wrong = folder.path().join("us.toml");
        std::fs::write(&wrong, TEXT.replace("status", "statuz")).expect("written");
        let refused = open_all(&KIND, &[wrong]).err().expect("refused");
        let refused = format!("{refused:#}");
        assert!(refused.contains("us.toml") && refused.contains("`status`"), "{refused}");
        let missing = open_all(&KIND, &[folder.path().join("none.toml")]).err().expect("missing");
        assert!(missing.to_string().contains("init"), "{missing}");
    }
}
