import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import java.net.URI;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import org.json.JSONObject;

/** Connects to the broker as a session grant says. */
final class Dial {
  private static final int HEARTBEAT_SECONDS = 10;
  private static final int TIMEOUT_MS = 5000;

  static Connection dial(JSONObject grant) throws Exception {
    URI address = new URI(grant.getJSONObject("endpoints").getJSONArray("amqp").getString(0));
    boolean isEncrypted = address.getScheme().equals("amqps");
    int standardPort = isEncrypted ? 5671 : 5672;
    ConnectionFactory factory = new ConnectionFactory();
    factory.setHost(address.getHost());
    factory.setPort(address.getPort() == -1 ? standardPort : address.getPort());
    factory.setVirtualHost(grant.getString("vhost"));
    factory.setUsername(grant.getString("queue"));
    factory.setPassword(grant.getString("token"));
    factory.setRequestedHeartbeat(HEARTBEAT_SECONDS);
    factory.setConnectionTimeout(TIMEOUT_MS);
    // It would use the old token, and consume without asking for a grant.
    factory.setAutomaticRecoveryEnabled(false);
    if (isEncrypted) encrypt(factory);
    return factory.newConnection();
  }

  /**
   * Without a context the library trusts everybody; without the parameters it would not look at the
   * name.
   */
  private static void encrypt(ConnectionFactory factory) throws Exception {
    factory.useSslProtocol(SSLContext.getDefault());
    factory.setSocketConfigurator(
        socket -> {
          SSLParameters parameters = ((SSLSocket) socket).getSSLParameters();
          parameters.setEndpointIdentificationAlgorithm("HTTPS");
          ((SSLSocket) socket).setSSLParameters(parameters);
        });
  }
}
