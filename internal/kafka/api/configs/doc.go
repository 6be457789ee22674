// Package configs serves DescribeConfigs, AlterConfigs and IncrementalAlterConfigs.
//
// What is in force is resolved by metaconfig over this broker's image; what may be set is decided by the
// controller. Secrets are never sent back.
package configs
