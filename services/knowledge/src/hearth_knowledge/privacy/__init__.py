"""What of a document may be indexed, shown and prompted: policies, the directory of persons, quarantine, audit."""
