// Where the server is and how to prove who we are, from `dev.json` and the AWS_* environment.

import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import iam from "@jm18457/kafkajs-msk-iam-authentication-mechanism";
import { generateAuthToken } from "aws-msk-iam-sasl-signer-js";

function sasl(mechanism, region) {
  if (mechanism === "AWS_MSK_IAM") return iam.createMechanism({ region });
  return {
    mechanism: "oauthbearer",
    oauthBearerProvider: async () => ({ value: (await generateAuthToken({ region })).token }),
  };
}

export function parseArguments() {
  const { values } = parseArgs({
    options: {
      "dev-json": { type: "string" },
      mechanism: { type: "string", default: "AWS_MSK_IAM" },
      plaintext: { type: "boolean", default: false },
    },
  });
  const dev = JSON.parse(readFileSync(values["dev-json"], "utf8"));
  if (values.plaintext) {
    return { mechanism: "PLAINTEXT", settings: { brokers: [dev.bootstrap_plaintext] } };
  }
  return {
    mechanism: values.mechanism,
    settings: {
      brokers: dev.bootstrap_iam.split(","),
      ssl: { ca: [readFileSync(dev.ca_pem_path, "utf8")] },
      sasl: sasl(values.mechanism, dev.region),
    },
  };
}
