-- Of the same rows as before, in the words of the statements that look for a member's open invitation: those could not use it.
DROP INDEX invitation_one_open_per_member;
CREATE UNIQUE INDEX invitation_one_open_per_member ON invitation (account_id, member_id) WHERE finished_at IS NULL;
