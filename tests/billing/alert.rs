//! People are told in time that few licences are left, and whom nobody could give what an invitation had promised.

use anyhow::Result;
use serde_json::json;

use super::world::Firm;

#[tokio::test]
async fn few_licences_left_are_told_once_until_their_use_changes() -> Result<()> {
    let firm = Firm::new().await?;
    firm.add("base", 3).await?;
    let told = || -> Result<usize> {
        let mails = firm.app.mailbox.to("olivia@work.example")?;
        Ok(mails.iter().filter(|mail| mail.subject.contains("running out")).count())
    };
    let look = async || -> Result<()> {
        firm.app.sweep("licenses.low").await?;
        firm.app.settle().await
    };
    firm.join("ann").await?;
    look().await?;
    assert_eq!(told()?, 0, "two of four are free");
    firm.join("ben").await?;
    look().await?;
    look().await?;
    assert_eq!(told()?, 1, "one of four is free");
    firm.join("cat").await?;
    look().await?;
    look().await?;
    assert_eq!(told()?, 2, "none is");
    firm.add("base", 5).await?;
    look().await?;
    assert_eq!(told()?, 2, "five are");
    firm.finish().await
}

#[tokio::test]
async fn a_wish_is_granted_at_acceptance_or_told() -> Result<()> {
    let firm = Firm::new().await?;
    firm.add("base", 5).await?;
    firm.add("time", 1).await?;
    let owner = firm.app.person("olivia@work.example").await?;
    let role = domain::permission::SystemRole::Standard.id().to_string();
    let invite = |name: &str, products: &[&str]| json!({ "email": format!("{name}@work.example"), "roleIds": [role], "productIds": products });
    let refused = [("base", "NOT_FOUND"), ("nothing", "NOT_FOUND")];
    for (product, code) in refused {
        let input = json!({ "invitations": [invite("zoe", &[product])] });
        assert_eq!(firm.app.mutate(Some(&owner.token), "memberInvite", input, "__typename").await?.codes(), [code]);
    }
    let input = json!({ "invitations": [invite("ann", &["time"]), invite("ben", &["time"])] });
    assert!(firm.app.mutate(Some(&owner.token), "memberInvite", input, "__typename").await?.codes().is_empty());
    for name in ["ann", "ben"] {
        let letter = firm.app.letter(&format!("{name}@work.example")).await?;
        assert!(firm.app.accept(&letter.token(), name, "Lee").await?.codes().is_empty());
    }
    firm.app.settle().await?;
    let holders = "{ account { licensePools { product { key } holders { nodes { firstName } } } } }";
    let pools = firm.app.graphql(Some(&owner.token), holders, serde_json::Value::Null).await?;
    let pools = pools.data("/account/licensePools").clone();
    let time = pools.as_array().unwrap().iter().find(|pool| pool["product"]["key"] == "time").unwrap();
    assert_eq!(time["holders"]["nodes"], json!([{ "firstName": "ann" }]));
    let told = firm.app.mailbox.to("olivia@work.example")?;
    let told: Vec<&str> =
        told.iter().map(|mail| mail.subject.as_str()).filter(|subject| subject.contains("without")).collect();
    assert_eq!(told, ["ben Lee joined Harbor & Finch without Time keeping"]);
    firm.finish().await
}
