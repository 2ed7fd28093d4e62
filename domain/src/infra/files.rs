//! Files that people upload, and files made for them. They lie in a folder; whatever keeps objects can take its place.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path as FsPath, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use jiff::SignedDuration;
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Error as StoreError, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _};
use tokio::io::{AsyncRead, AsyncWriteExt as _};
use tokio_util::io::StreamReader;

use super::config::Config;

/// Bytes kept in memory of a file that is being written.
const WRITE_BUFFER: usize = 1 << 20;

/// The files.
#[derive(Clone, Debug)]
pub struct Files {
    store: Arc<dyn ObjectStore>,
    /// The folder, if they lie in one.
    folder: Option<PathBuf>,
}

/// Why a file was not written. Nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// It is longer than it may be.
    #[error("the file is too long")]
    TooLarge,
    /// Whoever sent it stopped.
    #[error("the sender stopped")]
    Interrupted,
    /// It could not be stored.
    #[error("the file could not be stored")]
    Store(#[from] StoreError),
}

/// The files of an installation: in `data_dir/files`, which is created for its owner alone.
pub fn open(config: &Config) -> Result<Files, StoreError> {
    let folder = config.data_dir.join("files");
    let local = create(&folder)
        .map_err(|error| StoreError::Generic { store: "files", source: Box::new(error) })
        .and_then(|()| LocalFileSystem::new_with_prefix(&folder))?;
    // A row that names a file must never be more durable than the file.
    let store = Arc::new(local.with_fsync(true).with_automatic_cleanup(true));
    Ok(Files { store, folder: Some(folder) })
}

fn create(folder: &FsPath) -> io::Result<()> {
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

impl Files {
    /// Files in a store of any kind.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, folder: None }
    }

    /// Writes a file from what is sent, at most `limit` bytes, and returns how many it has. It is seen whole or not at all.
    pub async fn write<E>(
        &self,
        key: &str,
        body: impl Stream<Item = Result<Bytes, E>> + Send,
        limit: u64,
    ) -> Result<u64, WriteError> {
        let mut writer =
            BufWriter::with_capacity(Arc::clone(&self.store), Path::from(key), WRITE_BUFFER).with_max_concurrency(2);
        let mut size = 0;
        let mut body = pin!(body);
        let sent = loop {
            match body.next().await {
                None => break Ok(()),
                Some(Err(_)) => break Err(WriteError::Interrupted),
                Some(Ok(bytes)) => {
                    size += bytes.len() as u64;
                    if size > limit {
                        break Err(WriteError::TooLarge);
                    }
                    writer.put(bytes).await?;
                }
            }
        };
        if let Err(error) = sent {
            writer.abort().await?;
            return Err(error);
        }
        writer.shutdown().await.map_err(|error| StoreError::Generic { store: "files", source: Box::new(error) })?;
        Ok(size)
    }

    /// Reads a file of `size` bytes from `offset` on.
    pub async fn read(
        &self,
        key: &str,
        offset: u64,
        size: u64,
    ) -> Result<impl AsyncRead + Send + Unpin + use<>, StoreError> {
        let stream = if offset < size {
            let options = GetOptions::new().with_range(Some(GetRange::Offset(offset)));
            self.store.get_opts(&Path::from(key), options).await?.into_stream()
        } else {
            futures::stream::empty().boxed()
        };
        Ok(StreamReader::new(stream.map_err(io::Error::from)))
    }

    /// Deletes a file; one that is not there is deleted already.
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        match self.store.delete(&Path::from(key)).await {
            Err(StoreError::NotFound { .. }) => Ok(()),
            other => other,
        }
    }

    /// Files below a folder that were written longer ago than `age`, by the clock of whoever keeps them.
    pub async fn older_than(&self, folder: &str, age: SignedDuration) -> Result<Vec<String>, StoreError> {
        let latest = jiff::Timestamp::now().as_second() - age.as_secs();
        let objects = self.store.list(Some(&Path::from(folder)));
        objects
            .try_filter(|object| std::future::ready(object.last_modified.timestamp() < latest))
            .map_ok(|object| object.location.to_string())
            .try_collect()
            .await
    }

    /// Deletes what was begun longer ago than `age` and never became a file, because a process died, and returns how many
    /// there were. Stores other than a folder do that by themselves.
    pub async fn delete_unfinished(&self, age: SignedDuration) -> Result<usize, StoreError> {
        let Some(folder) = self.folder.clone() else { return Ok(0) };
        let before = SystemTime::now() - Duration::from_secs(age.as_secs().unsigned_abs());
        let deleted = tokio::task::spawn_blocking(move || delete_unfinished(&folder, before)).await;
        let deleted = deleted.map_err(|source| StoreError::JoinError { source })?;
        deleted.map_err(|error| StoreError::Generic { store: "files", source: Box::new(error) })
    }
}

/// The local store writes a file under its name, `#` and a number, and then renames it; it does not list such files.
fn delete_unfinished(folder: &FsPath, before: SystemTime) -> io::Result<usize> {
    let mut deleted = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // Others add and delete files meanwhile.
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            deleted += delete_unfinished(&entry.path(), before).or_else(ignore_missing)?;
        } else if entry.file_name().to_string_lossy().contains('#') && metadata.modified()? < before {
            deleted += std::fs::remove_file(entry.path()).map(|()| 1).or_else(ignore_missing)?;
        }
    }
    Ok(deleted)
}

fn ignore_missing(error: io::Error) -> io::Result<usize> {
    if error.kind() == io::ErrorKind::NotFound { Ok(0) } else { Err(error) }
}
