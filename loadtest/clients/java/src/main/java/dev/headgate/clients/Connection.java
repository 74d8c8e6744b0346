package dev.headgate.clients;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;

/**
 * Where the server is and how to prove who we are: the command line, {@code dev.json} and the AWS_* environment.
 *
 * <p>For AWS_MSK_IAM the properties are those that the server wrote for its users, {@code clients/java.properties}
 * beside {@code dev.json}, so that this file is proved too.
 */
record Connection(String mechanism, Properties properties) {
    static Connection parse(String[] arguments) throws IOException {
        List<String> words = Arrays.asList(arguments);
        int at = words.indexOf("--dev-json");
        if (at < 0) {
            throw new IllegalArgumentException("--dev-json PATH [--mechanism AWS_MSK_IAM|OAUTHBEARER] [--plaintext]");
        }
        Path path = Path.of(words.get(at + 1));
        JsonNode dev = new ObjectMapper().readTree(path.toFile());
        int named = words.indexOf("--mechanism");
        String mechanism = named < 0 ? "AWS_MSK_IAM" : words.get(named + 1);
        if (words.contains("--plaintext")) {
            return new Connection("PLAINTEXT", plaintext(dev));
        }
        return switch (mechanism) {
            case "AWS_MSK_IAM" -> new Connection(mechanism, written(path.resolveSibling("clients/java.properties")));
            case "OAUTHBEARER" -> new Connection(mechanism, oauthbearer(dev));
            default -> throw new IllegalArgumentException("unknown mechanism " + mechanism);
        };
    }

    private static Properties plaintext(JsonNode dev) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", dev.get("bootstrap_plaintext").asText());
        return properties;
    }

    private static Properties written(Path file) throws IOException {
        Properties properties = new Properties();
        try (Reader reader = Files.newBufferedReader(file)) {
            properties.load(reader);
        }
        return properties;
    }

    private static Properties oauthbearer(JsonNode dev) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", dev.get("bootstrap_iam").asText());
        properties.put("security.protocol", "SASL_SSL");
        properties.put("ssl.truststore.type", "PEM");
        properties.put("ssl.truststore.location", dev.get("ca_pem_path").asText());
        properties.put("sasl.mechanism", "OAUTHBEARER");
        properties.put(
                "sasl.jaas.config", "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;");
        properties.put(
                "sasl.login.callback.handler.class",
                "software.amazon.msk.auth.iam.IAMOAuthBearerLoginCallbackHandler");
        properties.put(
                "sasl.client.callback.handler.class",
                "software.amazon.msk.auth.iam.IAMOAuthBearerLoginCallbackHandler");
        return properties;
    }

    /** A copy that the caller may add to. */
    Properties with(Object... keysAndValues) {
        Properties copy = new Properties();
        copy.putAll(properties);
        for (int index = 0; index < keysAndValues.length; index += 2) {
            copy.put(keysAndValues[index], keysAndValues[index + 1]);
        }
        return copy;
    }
}
