import java.net.InetSocketAddress;
import java.util.Map;
import org.apache.iceberg.CatalogUtil;
import org.apache.iceberg.rest.RESTCatalogAdapter;
import org.apache.iceberg.rest.RESTCatalogServlet;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.servlet.ServletContextHandler;
import org.eclipse.jetty.servlet.ServletHolder;

/** Runs a REST catalog over a file of SQLite and a bucket until it is killed: PORT FILE WAREHOUSE S3_ENDPOINT. */
public class IcebergCatalog {
    public static void main(String[] arguments) throws Exception {
        var settings = Map.of(
            "catalog-impl", "org.apache.iceberg.jdbc.JdbcCatalog",
            "uri", "jdbc:sqlite:" + arguments[1],
            "jdbc.schema-version", "V1",
            "clients", "1", // two at once find SQLite locked, and one of them never lets go
            "warehouse", arguments[2],
            "io-impl", "org.apache.iceberg.aws.s3.S3FileIO",
            "s3.endpoint", arguments[3],
            "s3.path-style-access", "true");
        var catalog = CatalogUtil.buildIcebergCatalog("tests", settings, null);
        var context = new ServletContextHandler();
        context.addServlet(new ServletHolder(new RESTCatalogServlet(new RESTCatalogAdapter(catalog))), "/*");
        var server = new Server(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])));
        server.setHandler(context);
        server.start();
        server.join();
    }
}
