// Runs the GraphQL-over-HTTP audits of npm `graphql-http` against a server: node audits.mjs URL
// Prints one line per audit that is not ok and a count; ends with 1 unless all 61 are ok.
import { serverAudits } from 'graphql-http';

const EXPECTED = 61;
const url = process.argv[2];
if (!url) {
  console.error('usage: node audits.mjs URL');
  process.exit(2);
}

let passed = 0;
const audits = serverAudits({ url });
for (const audit of audits) {
  const result = await audit.fn();
  if (result.status === 'ok') {
    passed += 1;
  } else {
    console.log(`${result.status} ${result.id} ${result.name}: ${result.reason}`);
  }
}
console.log(`${passed} of ${audits.length} audits passed`);
process.exit(passed === EXPECTED && audits.length === EXPECTED ? 0 : 1);
