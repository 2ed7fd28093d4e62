//! What a file to import looks like.

use async_graphql::{Context, Result, SimpleObject};
use domain::actor::{Action, Actor, Target};
use domain::import::link::{self, File};
use domain::import::template::{self, TemplateColumn};
use domain::infra::link::LIFETIME;

use crate::graphql::context::ContextExt as _;
use crate::graphql::error::{failed, top_level};
use crate::graphql::scalar::Url;

/// A column of a file to import. Columns may stand in any order, their names in any letter case; others are not imported.
#[derive(SimpleObject, Clone, Debug)]
pub struct ImportColumn {
    /// Its name in the header.
    name: String,
    /// Whether each row must have a value in it.
    required: bool,
    /// What it is for.
    description: String,
    /// All values it may have, where they are few; for `roles` and `groups` the names of those of the account.
    values: Option<Vec<String>>,
    /// The most characters of a value, where that is what limits it.
    max_length: Option<i32>,
    /// An example.
    example: String,
}

impl From<&TemplateColumn> for ImportColumn {
    fn from(column: &TemplateColumn) -> Self {
        Self {
            name: column.column.name().to_owned(),
            required: column.required,
            description: column.description.to_owned(),
            values: column.values.clone(),
            max_length: column.column.max_chars().and_then(|chars| i32::try_from(chars).ok()),
            example: column.example.to_owned(),
        }
    }
}

/// What a file to import looks like.
#[derive(SimpleObject, Clone, Debug)]
pub struct MemberImportTemplate {
    /// Its columns.
    columns: Vec<ImportColumn>,
    /// An address at which a file with these columns and an example row can be fetched for ten minutes, while the viewer may see
    /// imports.
    url: Url,
}

/// Reads the template. Needs `imports.read` or `imports.run`.
pub async fn read(ctx: &Context<'_>) -> Result<MemberImportTemplate> {
    let actor = ctx.actor()?;
    actor.may(Action::ReadImports, Target::Account).map_err(top_level)?;
    let mut conn = ctx.state().db.pool.acquire().await.map_err(failed)?;
    let columns = template::columns(&mut conn, actor.account_id).await.map_err(failed)?;
    let columns = columns.iter().map(ImportColumn::from).collect();
    Ok(MemberImportTemplate { columns, url: link(ctx, actor, File::Template) })
}

/// An address at which the actor can fetch something for a while.
pub(super) fn link(ctx: &Context<'_>, actor: &Actor, file: File) -> Url {
    let state = ctx.state();
    let path = link::path(&state.db, actor.account_id, actor.member_id, file, actor.now + LIFETIME);
    Url(format!("{}/member-imports/{path}", state.config.http.public_url))
}
