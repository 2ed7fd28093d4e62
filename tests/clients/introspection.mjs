// Asks a server for its schema as the tools do that are built on npm `graphql`: node introspection.mjs URL
// Ends with 1 unless the widest and the narrowest form of the query give a schema without faults.
import { buildClientSchema, getIntrospectionQuery, printSchema, validateSchema } from 'graphql';

const url = process.argv[2];
if (!url) {
  console.error('usage: node introspection.mjs URL');
  process.exit(2);
}

const widest = {
  descriptions: true,
  specifiedByUrl: true,
  directiveIsRepeatable: true,
  schemaDescription: true,
  inputValueDeprecation: true,
  oneOf: true,
};
for (const options of [widest, {}, { descriptions: false }]) {
  const body = JSON.stringify({ query: getIntrospectionQuery(options), operationName: 'IntrospectionQuery' });
  const response = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body });
  const { data, errors } = await response.json();
  if (errors) {
    console.log(JSON.stringify(options), JSON.stringify(errors));
    process.exit(1);
  }
  const schema = buildClientSchema(data);
  const faults = validateSchema(schema);
  if (faults.length > 0) {
    console.log(faults.map((fault) => fault.message).join('\n'));
    process.exit(1);
  }
  console.log(`${Object.keys(schema.getTypeMap()).length} types, ${printSchema(schema).length} characters`);
}
