-- Whether people sign in through an identity provider, and who may change their login e-mail all the same.
ALTER TABLE account ADD COLUMN sso_required boolean NOT NULL DEFAULT false;

-- Members rather than addresses: an entry follows the member's address, and goes with the member.
CREATE TABLE sso_exception (
    account_id uuid NOT NULL,
    member_id  uuid NOT NULL,
    PRIMARY KEY (account_id, member_id),
    FOREIGN KEY (account_id, member_id) REFERENCES member ON DELETE CASCADE
);
