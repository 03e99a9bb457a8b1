import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.Statement;

/**
 * Runs what stands in the lines of its standard input, each in a transaction of its own, and prints the rows.
 *
 * <pre>
 *   Sql URL
 * </pre>
 */
public class Sql {
    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        try (Connection c = DriverManager.getConnection(args[0]); Statement s = c.createStatement()) {
            for (String line; (line = in.readLine()) != null;) {
                if (!s.execute(line)) continue;
                for (ResultSet r = s.getResultSet(); r.next();) {
                    StringBuilder row = new StringBuilder();
                    for (int i = 1; i <= r.getMetaData().getColumnCount(); i++) row.append(i == 1 ? "" : "|").append(r.getString(i));
                    System.out.println(row);
                }
            }
        }
    }
}
