-- Auditors of the accounts that exist may read the feed, as those of new accounts may. The catalogue itself is written after the migrations.
INSERT INTO permission (permission, account_wide, description)
VALUES ('activity.read', true, 'See what happened in the account, and follow it live.')
ON CONFLICT DO NOTHING;

INSERT INTO role_permission (account_id, role_id, permission)
SELECT account_id, role_id, 'activity.read' FROM role WHERE system_key = 'AUDITOR'
ON CONFLICT DO NOTHING;
